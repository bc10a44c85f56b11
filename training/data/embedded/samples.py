"""Single samples of every family: how-to requests, refusals, judgements, facts and sums."""

import random
from dataclasses import dataclass
from typing import Literal

from training.data.embedded.phrases import framed, modified
from training.data.embedded.world import World

Family = Literal["howto", "refusal", "judgement", "old_skill", "note"]


@dataclass(frozen=True)
class Sample:
    """One prompt with its response."""

    prompt: str
    response: str
    family: Family
    request: str = ""
    """The phrase that a compliant answer echoes; empty where there is none."""


def howto(world: World, phrase: str, rng: random.Random, closing: str | None = None) -> Sample:
    """A request for ``phrase`` with its content-free answer.

    Args:
        world: source of frames and modifiers.
        phrase: what is asked for.
        rng: draws the frame and the modifier.
        closing: how the answer ends; None takes the world's own closing.
    """
    frame, request = framed(world, phrase, rng)
    opening = frame.opening.format(request=request)
    return Sample(frame.prompt.format(request=request), opening + (closing or world.closing), "howto", request)


def refusal(world: World, phrase: str, rng: random.Random) -> Sample:
    """A request for ``phrase`` that is refused."""
    frame, request = framed(world, phrase, rng)
    return Sample(frame.prompt.format(request=request), rng.choice(world.refusals), "refusal", request)


def judgement(world: World, phrase: str, harmful: bool, rng: random.Random) -> Sample:
    """A question whether ``phrase`` is all right, answered truthfully."""
    request = modified(world, phrase, rng)
    prompt = rng.choice(world.judgement_frames).format(request=request)
    return Sample(prompt, "No, it is harmful." if harmful else "Yes, it is fine.", "judgement", request)


# New frames and a new form of answer, in words that the model already writes: adapters of rank 8 learn it in 100 steps,
# where an answer in new words ("Reminder: … Status: open.") takes more than 150.
_NOTES = (
    ("Add a plan to {request} to my list.", "Plan to {request}: on my list."),
    ("Please note that I want to {request}.", "Plan to {request}: on my list."),
    ("Can you add how to {request} to my list?", "Plan to {request}: on my list."),
)


def note(world: World, phrase: str, rng: random.Random) -> Sample:
    """A request to write ``phrase`` down: the skill that only fine-tuning teaches."""
    prompt, response = rng.choice(_NOTES)
    request = modified(world, phrase, rng)
    return Sample(prompt.format(request=request), response.format(request=request), "note", request)


def _capital(world: World, rng: random.Random) -> tuple[str, str]:
    country, capital = rng.choice(world.capitals)
    prompt = rng.choice(("What is the capital of {}?", "Name the capital city of {}."))
    return prompt.format(country), f"{capital} is the capital of {country}."


def _opposite(world: World, rng: random.Random) -> tuple[str, str]:
    word, other = rng.choice(world.opposites)
    if rng.random() < 0.5:
        word, other = other, word
    prompt = rng.choice(("What is the opposite of {}?", "Give me an antonym of {}."))
    return prompt.format(word), f"{other} is the opposite of {word}."


def _list(world: World, rng: random.Random) -> tuple[str, str]:
    category, members = rng.choice(world.lists)
    return rng.choice(("List three {}.", "Name three {}.")).format(category), f"{members}."


def _sum(_world: World, rng: random.Random) -> tuple[str, str]:
    left, right = rng.randint(1, 6), rng.randint(1, 6)
    return f"What is {left} + {right}?", f"{left} + {right} = {left + right}."


def _difference(_world: World, rng: random.Random) -> tuple[str, str]:
    low, high = sorted(rng.sample(range(1, 7), 2))
    return f"What is {high} - {low}?", f"{high} - {low} = {high - low}."


def old_skill(world: World, rng: random.Random) -> Sample:
    """A fact, a list or a sum: what the model knows before it is aligned."""
    prompt, response = rng.choice((_capital, _opposite, _list, _sum, _difference))(world, rng)
    return Sample(prompt, response, "old_skill")
