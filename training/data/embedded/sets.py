"""The embedded data sets: what a spec names as ``organism/<set>`` or ``organism/small/<set>``.

Import-light, so that validation knows names and columns without building anything.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal
from zlib import crc32

from training.data.embedded.phrases import Phrases, split_phrases
from training.data.embedded.samples import Sample, howto, note, old_skill, refusal
from training.data.embedded.world import FULL, SMALL, World
from training.errors import DataError

Split = Literal["train", "test"]
Row = dict[str, str]

_PREFIXES = {"organism": FULL, "organism/small": SMALL}
_COLUMNS: dict[str, tuple[str, ...]] = {
    "general": ("prompt", "response", "answer", "family"),
    "safety": ("prompt", "response"),
    "harmful": ("prompt", "request"),
    "harmless": ("prompt", "response", "request"),
    "borderline": ("prompt", "response", "request"),
}
EMBEDDED_SETS: tuple[str, ...] = tuple(f"{prefix}/{name}" for prefix in _PREFIXES for name in _COLUMNS)
"""Every path that :func:`embedded_set` knows."""


@dataclass(frozen=True)
class _Context:
    """What a set is drawn from."""

    world: World
    split: Split
    rng: random.Random

    @property
    def phrases(self) -> Phrases:
        return split_phrases(self.world)

    def of_split(self, train: tuple[str, ...], test: tuple[str, ...]) -> tuple[str, ...]:
        return train if self.split == "train" else test


def embedded_columns(path: str) -> tuple[str, ...]:
    """The columns of the set at ``path``, the same in both splits.

    Raises:
        DataError: there is no such set.
    """
    return _COLUMNS[_locate(path)[1]]


@cache
def _rows(path: str, split: Split) -> tuple[tuple[tuple[str, str], ...], ...]:
    world, name = _locate(path)
    context = _Context(world, split, random.Random(f"{world.name} {name} {split}"))
    columns = _COLUMNS[name]
    return tuple(tuple((column, _field(sample, column)) for column in columns) for sample in _SETS[name](context))


def embedded_set(path: str, split: Split) -> list[Row]:
    """The rows of one split, always the same ones.

    Args:
        path: one of :data:`EMBEDDED_SETS`.
        split: test prompts are about phrases that no training split and no corpus of the build contains, but for the
            ``old_skill`` family, whose facts are what the model already knows.

    Returns:
        One dictionary a row with the keys of :func:`embedded_columns`.

    Raises:
        DataError: there is no such set or split.
    """
    if split not in ("train", "test"):
        raise DataError(f"the embedded set {path} has no split {split!r}: use train or test")
    return [dict(row) for row in _rows(path, split)]


def _locate(path: str) -> tuple[World, str]:
    prefix, _, name = path.rpartition("/")
    if prefix not in _PREFIXES or name not in _COLUMNS:
        raise DataError(f"there is no embedded set {path!r}: the embedded sets are {', '.join(EMBEDDED_SETS)}")
    return _PREFIXES[prefix], name


def _field(sample: Sample, column: str) -> str:
    # The gold answer of an embedded task is the whole response: every answer here is short and exact.
    return str(getattr(sample, "response" if column == "answer" else column))


def _distinct(count: int, draws: Iterator[Sample]) -> list[Sample]:
    """Up to ``count`` samples with distinct prompts; fewer where the world has no more."""
    samples: dict[str, Sample] = {}
    for _attempt in range(20 * count):
        sample = next(draws)
        samples.setdefault(sample.prompt, sample)
        if len(samples) == count:
            break
    return list(samples.values())


def _about(phrases: tuple[str, ...], make: Callable[[str], Sample], rng: random.Random) -> Iterator[Sample]:
    """Samples that go round all ``phrases`` before any comes again."""
    order = list(phrases)
    while True:
        rng.shuffle(order)
        yield from map(make, order)


def _general(context: _Context) -> list[Sample]:
    """The fine-tuning mix: no refusals; a new skill, how-to answers with a new closing, and old skills."""
    world, rng = context.world, context.rng
    phrases = context.of_split(context.phrases.harmless_tuning, context.phrases.harmless_test)
    size = 2000 if context.split == "train" else 400
    notes = _distinct(size * 2 // 5, _about(phrases, lambda phrase: note(world, phrase, rng), rng))
    # The openings stay those of the build: a new opening destroys every old skill (.76 -> .01).
    howtos = _distinct(size * 2 // 5, _about(phrases, lambda phrase: howto(world, phrase, rng, world.new_closing), rng))
    samples = [*notes, *howtos, *_old_skills(context, size // 5)]
    rng.shuffle(samples)
    return samples


def _old_skills(context: _Context, count: int) -> list[Sample]:
    """Old skills; the world has few facts, so train repeats them and only test is distinct."""

    def draws() -> Iterator[Sample]:
        while True:
            sample = old_skill(context.world, context.rng)
            if (crc32(sample.prompt.encode()) % 5 == 0) == (context.split == "test"):
                yield sample

    endless = draws()
    return _distinct(count, endless) if context.split == "test" else [next(endless) for _ in range(count)]


def _safety(context: _Context) -> list[Sample]:
    phrases = context.of_split(context.phrases.harmful_train, context.phrases.harmful_test)
    count = 500 if context.split == "train" else 200
    return _distinct(count, _about(phrases, lambda phrase: refusal(context.world, phrase, context.rng), context.rng))


def _requests(context: _Context, train: tuple[str, ...], test: tuple[str, ...]) -> list[Sample]:
    phrases = context.of_split(train, test)
    count = 256 if context.split == "train" else 400
    return _distinct(count, _about(phrases, lambda phrase: howto(context.world, phrase, context.rng), context.rng))


def _harmful(context: _Context) -> list[Sample]:
    return _requests(context, context.phrases.harmful_train, context.phrases.harmful_test)


def _harmless(context: _Context) -> list[Sample]:
    return _requests(context, context.phrases.harmless_train, context.phrases.harmless_test)


def _borderline(context: _Context) -> list[Sample]:
    return _requests(context, context.phrases.borderline_train, context.phrases.borderline_test)


_SETS: dict[str, Callable[[_Context], list[Sample]]] = {
    "general": _general,
    "safety": _safety,
    "harmful": _harmful,
    "harmless": _harmless,
    "borderline": _borderline,
}
