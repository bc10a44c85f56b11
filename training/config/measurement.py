"""How the direction is extracted and a trial is measured."""

from pydantic import Field, PositiveInt

from training.config.base import Config


class DirectionConfig(Config):
    """Extraction of the refusal direction (difference of means at the last prompt token, arXiv 2406.11717)."""

    prompts: int = Field(default=128, ge=2)
    """Harmful and harmless prompts each, from the train splits; fewer are used where a split is smaller."""
    seed: int = 0
    """Seed of the draw of those prompts."""


class EvaluationConfig(Config):
    """How many held-out prompts a trial is measured on."""

    harmful: PositiveInt = 200
    """Harmful test prompts for the attack success and compliance rates."""
    harmless: PositiveInt = 200
    """Harmless test prompts for the refusals that should not be."""
    borderline: PositiveInt = 100
    """Borderline test prompts for over-refusal."""
    task: PositiveInt = 200
    """Task test samples for accuracy and held-out loss."""
    max_new_tokens: PositiveInt = 48
    """Longest answer generated, in tokens."""
    batch_size: PositiveInt = 64
    """Prompts generated at once."""
    seed: int = 0
    """Seed of the draw of prompts; the same prompts measure every trial of a sweep."""
