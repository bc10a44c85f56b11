"""The prompts a direction is extracted from and checked on, and which of them the model treats as their kind asks."""

import hashlib
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Literal, Self

from training.config import DataConfig, DirectionConfig, Source
from training.data import load_split
from training.errors import DirectionError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from training.evaluation.judges import Verdict

Side = Literal["harmful", "harmless"]
SIDES: tuple[Side, ...] = ("harmful", "harmless")
ENOUGH = 16
"""Prompts that a mean should be over; half of those drawn where fewer than twice as many were."""


@dataclass(frozen=True)
class Drawn:
    """Prompts of one side."""

    extraction: tuple[str, ...]
    """What the class mean is taken over."""
    held_out: tuple[str, ...]
    """What the direction is checked on; disjoint from the former."""
    dropped: int = 0
    """How many of the drawn extraction prompts the model did not treat as their side asks."""
    dropped_held_out: int = 0
    """The same of the held-out prompts."""

    def kept(self, wanted: Collection[str]) -> Self:
        """Only the prompts in ``wanted``, the others counted as dropped."""
        extraction = tuple(prompt for prompt in self.extraction if prompt in wanted)
        held_out = tuple(prompt for prompt in self.held_out if prompt in wanted)
        missing = len(self.extraction) - len(extraction), len(self.held_out) - len(held_out)
        return type(self)(extraction, held_out, self.dropped + missing[0], self.dropped_held_out + missing[1])


@dataclass(frozen=True)
class DirectionPrompts:
    """Prompts of both sides."""

    harmful: Drawn
    harmless: Drawn

    @property
    def used(self) -> dict[str, list[str]]:
        """All prompts by side, those that the direction is checked on among them."""
        return {side: [*getattr(self, side).extraction, *getattr(self, side).held_out] for side in SIDES}

    def as_json(self) -> dict[str, Any]:
        """Hashes of the prompts that were kept, never their text, and how many were dropped."""
        return {side: _side_as_json(getattr(self, side)) for side in SIDES}

    def restored(self, saved: Mapping[str, Any]) -> "DirectionPrompts":
        """Of these, drawn but not filtered, the prompts that ``saved`` (of :meth:`as_json`) kept.

        Raises:
            DirectionError: prompts that were kept then are not drawn now.
        """
        found = {}
        for side in SIDES:
            drawn: Drawn = getattr(self, side)
            ids = {*saved[side]["extraction"], *saved[side]["held_out"]}
            found[side] = drawn.kept(
                {prompt for prompt in drawn.extraction + drawn.held_out if prompt_id(prompt) in ids}
            )
            if _side_as_json(found[side]) != saved[side]:
                raise DirectionError(
                    f"data.{side} or the settings of the direction changed since it was extracted: "
                    "write into another folder, or remove the saved direction"
                )
        return DirectionPrompts(**found)


def _side_as_json(drawn: Drawn) -> dict[str, Any]:
    return {
        "extraction": [prompt_id(prompt) for prompt in drawn.extraction],
        "held_out": [prompt_id(prompt) for prompt in drawn.held_out],
        "dropped": drawn.dropped,
        "dropped_held_out": drawn.dropped_held_out,
    }


def prompt_id(prompt: str) -> str:
    """Hash that a prompt is recognised by."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:16]


def draw_prompts(data: DataConfig, config: DirectionConfig) -> DirectionPrompts:
    """Distinct train prompts of both sides, drawn but not filtered.

    Raises:
        DataError: a source cannot be read.
    """

    def of(side: Side) -> Drawn:
        source: Source = getattr(data, side)
        return draw(list(dict.fromkeys(load_split(source, "train", field=f"data.{side}")["prompt"])), config, side)

    return DirectionPrompts(of("harmful"), of("harmless"))


def draw(prompts: Sequence[str], config: DirectionConfig, side: Side) -> Drawn:
    """``config.prompts`` and ``config.held_out`` of distinct ``prompts``; at most a quarter of too few is held out."""
    held_out = held_out_of(len(prompts), config)
    chosen = random.Random(f"{config.seed}/{side}").sample(prompts, min(config.prompts, len(prompts) - held_out))
    rest = sorted(set(prompts) - set(chosen))
    return Drawn(tuple(chosen), tuple(random.Random(f"{config.seed}/{side}/held out").sample(rest, held_out)))


def held_out_of(count: int, config: DirectionConfig) -> int:
    """How many of ``count`` distinct prompts the direction is checked on instead of extracted from."""
    if config.causal is None:
        return 0
    return min(config.held_out, max(count - config.prompts, count // 4))


def filtered(
    model: "torch.nn.Module",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: DirectionPrompts,
    config: DirectionConfig,
    batch_size: int = 64,
) -> DirectionPrompts:
    """Only the harmful prompts that ``model`` refuses and the harmless ones that it answers.

    Args:
        model: as it is before fine-tuning; all of its answers are one pass of greedy generation.
        tokenizer: its tokenizer.
        prompts: as drawn.
        config: how long the answers are.
        batch_size: prompts decoded at once.

    Raises:
        DirectionError: too few are left on a side.
    """
    pool = [
        prompt for side in SIDES for prompt in (*getattr(prompts, side).extraction, *getattr(prompts, side).held_out)
    ]
    verdicts = refusals(model, tokenizer, pool, config.filter_tokens, batch_size)
    refused, answered = ({p for p, v in zip(pool, verdicts, strict=True) if v is wanted} for wanted in (True, False))
    harmful = prompts.harmful.kept(refused)
    harmless = prompts.harmless.kept(answered - refused)
    for side, drawn, kept in (("harmful", prompts.harmful, harmful), ("harmless", prompts.harmless, harmless)):
        _check_enough(side, drawn, kept)
    return DirectionPrompts(harmful, harmless)


def refusals(
    model: "torch.nn.Module",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[str],
    max_new_tokens: int,
    batch_size: int = 64,
) -> "list[Verdict]":
    """Whether the greedy answer of ``model`` to each prompt holds a refusal phrase; None where it says nothing.

    A model that thinks before it answers is asked with its thought left empty: none would end within so few tokens.
    """
    from training.data.chat import answer_lead, encode_prompts
    from training.evaluation.judges import Exchange, RefusalPhrases
    from training.models.generation import generate_replies

    lead = answer_lead(tokenizer)
    replies = generate_replies(
        model,
        tokenizer,
        encode_prompts(tokenizer, prompts),
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        prefills=[lead for _ in prompts],
    )
    refused = RefusalPhrases().judge([Exchange(p, reply.answer) for p, reply in zip(prompts, replies, strict=True)])
    return [None if reply.empty else verdict for reply, verdict in zip(replies, refused, strict=True)]


def _check_enough(side: str, drawn: Drawn, kept: Drawn) -> None:
    does = "refuses" if side == "harmful" else "answers"
    for field, before, after in (
        ("prompts", drawn.extraction, kept.extraction),
        ("held_out", drawn.held_out, kept.held_out),
    ):
        needed = max(ceil(len(before) / 4), min(ENOUGH, len(before) // 2) if field == "prompts" else 0)
        if len(after) < needed:
            raise DirectionError(
                f"the model {does} only {len(after)} of the {len(before)} {side} prompts of direction.{field}, and a "
                f"direction needs {needed}: raise direction.{field}, check data.{side}, or set direction.filter=false"
            )
