"""What a sweep will take: trials, steps, tokens, hours and money (pure arithmetic over measured figures)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from pydantic import ValidationError

from sweeps.budget import Spent, spent
from sweeps.spec import REFERENCES, ResourcesConfig, SweepSpec
from training.config import TrialConfig

STEP_FIELDS = ("steps", "constraint.warmup_steps", "constraint.warmup", "batch_size", "max_length")
"""Fields of a trial that decide how much it trains."""


@dataclass(frozen=True)
class Work:
    """What one model of a sweep has to train, at most: pruning and a budget make it less."""

    untrained: int
    """Measurements without training: the untouched model."""
    references: int
    """Trained references."""
    searched: int
    """Searched trials."""
    replicates: int
    """Repetitions under other seeds, if every trial ended on the front."""
    steps: int
    """Optimizer steps of one trial, the longest that the search can draw."""
    batch_size: int
    """Samples of one step, the most that the search can draw."""
    max_length: int
    """Tokens of the longest sample."""

    @property
    def trained(self) -> int:
        """Trainings."""
        return self.references + self.searched + self.replicates

    @property
    def trials(self) -> int:
        """Everything a slot has to do."""
        return self.untrained + self.trained

    @property
    def total_steps(self) -> int:
        """Optimizer steps of all trainings."""
        return self.trained * self.steps

    def tokens(self, length: float) -> int:
        """Training tokens of all trainings.

        Args:
            length: tokens of a sample, on average.
        """
        return round(self.total_steps * self.batch_size * length)


def model_work(spec: SweepSpec) -> Work:
    """What every model of ``spec`` has to train."""
    largest = list(_extreme_trials(spec))
    return Work(
        untrained=1,
        references=len(REFERENCES) - 1,
        searched=spec.trials,
        replicates=spec.trials * max(0, spec.seeds.replicates_on_front - 1),
        steps=max(trial.total_steps for trial in largest),
        batch_size=max(trial.batch_size for trial in largest),
        max_length=max(trial.max_length for trial in largest),
    )


def planned(spec: SweepSpec) -> int:
    """References and searched trials of all models; how many replicates will follow is decided on the way."""
    return len(spec.models) * (len(REFERENCES) + spec.trials)


def _extreme_trials(spec: SweepSpec) -> Iterable[TrialConfig]:
    """The trial as it stands, and with every combination of extremes of what decides how much is trained."""
    yield spec.trial
    paths = [path for path in STEP_FIELDS if path in spec.ranges]
    for values in product(*(spec.ranges[path].extremes() for path in paths)):
        params: dict[str, Any] = dict(zip(paths, values, strict=True))
        try:
            yield spec.trial_config(params)
        except ValidationError:
            continue  # extremes that exclude each other, which no trial has


@dataclass(frozen=True)
class Figures:
    """Measured seconds of one model's trials."""

    seconds_per_step: float
    """One optimizer step."""
    seconds_beside: float
    """One trial outside its steps: measurement, and what it waits for before its first step."""


def model_seconds(work: Work, figures: Figures) -> float:
    """Seconds that one slot would need for all of a model's trials."""
    return work.total_steps * figures.seconds_per_step + work.trials * figures.seconds_beside


def sweep_seconds(works: Sequence[Work], figures: Sequence[Figures], slots: int) -> float:
    """Seconds by the clock until ``slots`` slots have run every trial, Ray's start-up left out.

    Trials share the slots evenly, and nothing is faster than the longest trial: models differ in size.

    Args:
        works: one per model.
        figures: one per model.
        slots: trials that run at once.
    """
    pairs = list(zip(works, figures, strict=True))
    total = sum(model_seconds(work, measured) for work, measured in pairs)
    longest = max(work.steps * measured.seconds_per_step + measured.seconds_beside for work, measured in pairs)
    return max(total / slots, longest)


def cost(seconds: float, slots: int, resources: ResourcesConfig) -> Spent:
    """Hours, GPU-hours and money of ``slots`` slots that are held for ``seconds`` seconds."""
    return spent(seconds, slots, resources)
