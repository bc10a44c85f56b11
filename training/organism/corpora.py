"""What one build is trained and measured on, from the synthetic world or from the data sources of a spec."""

import hashlib
import json
import random
from dataclasses import dataclass
from typing import Any, Literal

from training.config import Column, DataConfig, Source
from training.data.embedded.samples import Family, Sample
from training.data.embedded.sets import embedded_set
from training.data.embedded.world import REFUSALS, WORLDS
from training.organism.corpus import alignment_corpus, helpful_corpus
from training.organism.recipe import Recipe

_HELPFUL_SAMPLES, _ALIGNMENT_SAMPLES = 12_000, 5_000
_MEASURED_PROMPTS = 200
_SOURCE_SAMPLES = 12_000  # a source: about what a build of three minutes goes through


@dataclass(frozen=True)
class Corpora:
    """Samples of both stages, and the held-out prompts that the result is measured on."""

    helpful: list[Sample]
    alignment: list[Sample]
    tokenizer_samples: list[Sample]
    harmful: list[str]
    harmless: list[str]
    borderline: list[str]
    gated: bool
    """Whether a model that falls short is an error."""
    fingerprint: str = ""
    """Hash of the rows, where they are not made by code."""


def world_corpora(recipe: Recipe) -> Corpora:
    """The corpora of a synthetic world, the same for the same seed."""
    world = WORLDS[str(recipe.world)]
    helpful = helpful_corpus(world, _HELPFUL_SAMPLES, recipe.seed)
    alignment = alignment_corpus(world, _ALIGNMENT_SAMPLES, recipe.seed)

    def held_out(name: str) -> list[str]:
        return [row["prompt"] for row in embedded_set(f"{recipe.path}/{name}", "test")][:_MEASURED_PROMPTS]

    return Corpora(
        helpful=helpful,
        alignment=alignment,
        tokenizer_samples=alignment[:4000],
        harmful=held_out("harmful"),
        harmless=held_out("harmless"),
        borderline=held_out("borderline"),
        gated=True,
    )


def source_corpora(data: DataConfig, recipe: Recipe) -> Corpora:
    """The corpora of ``organism/real``: helpful samples, and refusals of harmful prompts, out of ``data``.

    Held-out prompts come from the test splits, which nothing is trained on.

    Raises:
        DataError: a source cannot be read, or has no responses to learn from.
    """
    rng = random.Random(f"sources {recipe.seed}")
    helpful = _answered(data.task, "task", rng)
    if "response" in _columns(data.harmless, "harmless"):
        helpful += _answered(data.harmless, "harmless", rng)
    refused = _answered(data.safety, "safety", rng)
    refused += [
        Sample(prompt, rng.choice(REFUSALS), "refusal") for prompt in _prompts(data.harmful, "train", "harmful")
    ]
    rng.shuffle(helpful)
    rng.shuffle(refused)
    refusals = _cycled(refused, _ALIGNMENT_SAMPLES * 2 // 5)
    return Corpora(
        helpful=helpful,
        alignment=helpful[: _ALIGNMENT_SAMPLES * 3 // 5] + refusals,
        tokenizer_samples=helpful[:4000] + refused[:2000],
        harmful=_drawn(_prompts(data.harmful, "test", "harmful"), rng),
        harmless=_drawn(_prompts(data.harmless, "test", "harmless"), rng),
        borderline=_drawn(_prompts(data.borderline, "test", "borderline"), rng),
        gated=False,
        fingerprint=_fingerprint(helpful, refused),
    )


def _rows(source: Source, split: Literal["train", "test"], name: str, *need: Column) -> Any:
    from training.data import load_split  # imports pyarrow and datasets, which a synthetic world does without

    return load_split(source, split, need=("prompt", *need), field=f"data.{name}")


def _columns(source: Source, name: str) -> list[str]:
    return list(_rows(source, "train", name).column_names)


def _answered(source: Source, name: str, rng: random.Random) -> list[Sample]:
    """Up to ``_SOURCE_SAMPLES`` training rows of ``source``, which has responses."""
    rows = _rows(source, "train", name, "response")
    family: Family = "refusal" if name == "safety" else "howto"
    samples = [
        Sample(prompt, response, family) for prompt, response in zip(rows["prompt"], rows["response"], strict=True)
    ]
    rng.shuffle(samples)
    return samples[:_SOURCE_SAMPLES]


def _prompts(source: Source, split: Literal["train", "test"], name: str) -> list[str]:
    return list(_rows(source, split, name)["prompt"])


def _drawn(prompts: list[str], rng: random.Random) -> list[str]:
    return rng.sample(prompts, min(_MEASURED_PROMPTS, len(prompts)))


def _cycled(samples: list[Sample], count: int) -> list[Sample]:
    """``count`` of ``samples``, gone through again and again where they are few."""
    return [samples[index % len(samples)] for index in range(count)]


def _fingerprint(*parts: list[Sample]) -> str:
    digest = hashlib.sha256()
    for samples in parts:
        digest.update(json.dumps([(sample.prompt, sample.response) for sample in samples]).encode())
    return digest.hexdigest()[:16]
