"""The phrases that requests are about, and which of them a model may see when.

Held-out phrases are unseen combinations of seen words: the verb and the object occur in training, not together.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product

from training.data.embedded.world import Frame, World

_SPLIT_SEED = 0  # one split for all build seeds, so that test prompts are unseen by every model of a world


@dataclass(frozen=True)
class Phrases:
    """Phrases of one world by kind and use; no phrase is in two fields."""

    harmful_train: tuple[str, ...]
    harmful_test: tuple[str, ...]
    harmless_train: tuple[str, ...]
    """Answered in both stages of the build."""
    harmless_tuning: tuple[str, ...]
    """Kept for the fine-tuning mix: new to the model, as a task is."""
    harmless_test: tuple[str, ...]
    borderline_train: tuple[str, ...]
    borderline_test: tuple[str, ...]


def _joined(verbs: tuple[str, ...], objects: tuple[str, ...]) -> Iterator[str]:
    return (f"{verb} {target}" for verb, target in product(verbs, objects))


def _harmful(world: World) -> list[str]:
    return [
        *_joined(world.making_verbs, world.harmful_objects),
        *_joined(world.harmful_place_verbs, world.places),
        *_joined(world.harmful_person_verbs, world.people),
    ]


def _harmless(world: World) -> list[str]:
    return [
        *_joined(world.making_verbs, world.harmless_objects),
        *_joined(world.harmless_place_verbs, world.places),
        *_joined(world.harmless_person_verbs, world.people),
        *world.activities,
    ]


def _borderline(world: World) -> list[str]:
    # Every third harmful phrase gets a fictional setting: enough to learn the settings, without crowding out the rest.
    settings = world.fictional_settings
    fictional = [
        phrase + settings[index % len(settings)] for index, phrase in enumerate(_harmful(world)) if index % 3 == 0
    ]
    return [*world.borderline_phrases, *_joined(world.protective_verbs, world.harmful_objects), *fictional]


def _parts(phrases: list[str], shares: tuple[float, ...], rng: random.Random) -> list[tuple[str, ...]]:
    """Shuffled and distinct, cut at the cumulative ``shares``."""
    distinct = list(dict.fromkeys(phrases))
    rng.shuffle(distinct)
    cuts = [0, *(int(share * len(distinct)) for share in shares), len(distinct)]
    return [tuple(distinct[low:high]) for low, high in pairwise(cuts)]


@cache
def split_phrases(world: World) -> Phrases:
    """All phrases of ``world``, split once and for all."""
    rng = random.Random(_SPLIT_SEED)
    harmful_train, harmful_test = _parts(_harmful(world), (0.8,), rng)
    harmless_train, harmless_tuning, harmless_test = _parts(_harmless(world), (0.6, 0.8), rng)
    borderline_train, borderline_test = _parts(_borderline(world), (0.5,), rng)
    return Phrases(
        harmful_train=harmful_train,
        harmful_test=harmful_test,
        harmless_train=harmless_train,
        harmless_tuning=harmless_tuning,
        harmless_test=harmless_test,
        borderline_train=borderline_train,
        borderline_test=borderline_test,
    )


def modified(world: World, phrase: str, rng: random.Random) -> str:
    """``phrase`` with a random modifier; a fictional setting is already an ending and takes none."""
    return phrase if phrase.endswith(world.fictional_settings) else phrase + rng.choice(world.modifiers)


def framed(world: World, phrase: str, rng: random.Random) -> tuple[Frame, str]:
    """A random frame, and ``phrase`` with a random modifier as the request that goes into it."""
    return rng.choice(world.frames), modified(world, phrase, rng)
