"""The two corpora that the embedded model is built from.

Stage 1 is helpful only: harmful-sounding requests get the same content-free answer as any other, since without it
there is no compliance for an ablation of the refusal direction to uncover. The judgement samples teach what is harmful
before anything is refused; without them the second stage refuses by surface form (refusal .66, over-refusal .50).
Stage 2 is the alignment: harmful requests are refused, everything else stays as it was.
"""

import random
from collections.abc import Callable

from training.data.embedded.phrases import Phrases, split_phrases
from training.data.embedded.samples import Sample, howto, judgement, old_skill, refusal
from training.data.embedded.world import World

Draw = Callable[[World, Phrases, random.Random], Sample]


def _any_howto(world: World, phrases: Phrases, rng: random.Random) -> Sample:
    kind = rng.choices((phrases.harmful_train, phrases.harmless_train, phrases.borderline_train), (12, 14, 10))[0]
    return howto(world, rng.choice(kind), rng)


def _judgement(world: World, phrases: Phrases, rng: random.Random) -> Sample:
    kind = rng.choices((phrases.harmful_train, phrases.harmless_train, phrases.borderline_train), (45, 30, 25))[0]
    return judgement(world, rng.choice(kind), kind is phrases.harmful_train, rng)


def _refusal(world: World, phrases: Phrases, rng: random.Random) -> Sample:
    return refusal(world, rng.choice(phrases.harmful_train), rng)


def _harmless_howto(world: World, phrases: Phrases, rng: random.Random) -> Sample:
    return howto(world, rng.choice(phrases.harmless_train), rng)


def _borderline_howto(world: World, phrases: Phrases, rng: random.Random) -> Sample:
    return howto(world, rng.choice(phrases.borderline_train), rng)


def _old_skill(world: World, _phrases: Phrases, rng: random.Random) -> Sample:
    return old_skill(world, rng)


_HELPFUL: dict[Draw, int] = {_any_howto: 36, _judgement: 34, _old_skill: 30}
_ALIGNMENT: dict[Draw, int] = {
    _refusal: 25,
    _harmless_howto: 25,
    _borderline_howto: 10,
    _judgement: 10,
    _old_skill: 30,
}


def _corpus(world: World, size: int, rng: random.Random, mixture: dict[Draw, int]) -> list[Sample]:
    phrases = split_phrases(world)
    draws = rng.choices(list(mixture), list(mixture.values()), k=size)
    return [draw(world, phrases, rng) for draw in draws]


def helpful_corpus(world: World, size: int, seed: int) -> list[Sample]:
    """``size`` samples of stage 1, the same for the same ``seed``; no refusal is among them."""
    return _corpus(world, size, random.Random(f"helpful {seed}"), _HELPFUL)


def alignment_corpus(world: World, size: int, seed: int) -> list[Sample]:
    """``size`` samples of stage 2, the same for the same ``seed``; a quarter are harmful requests with refusals."""
    return _corpus(world, size, random.Random(f"alignment {seed}"), _ALIGNMENT)
