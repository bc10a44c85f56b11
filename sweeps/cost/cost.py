"""What a sweep will take: trials, steps, tokens, hours and money (pure arithmetic over measured figures)."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import product
from math import ceil
from typing import Any

from pydantic import ValidationError

from sweeps.schema.budget import Spent, spent
from sweeps.schema.forks import most_fork_points
from sweeps.schema.resources import ResourcesConfig
from sweeps.schema.spec import REFERENCES, SweepSpec
from training.config import TrialConfig

STEP_FIELDS = (
    "steps",
    "epochs",
    "constraint",
    "constraint.warmup_steps",
    "constraint.warmup_epochs",
    "constraint.warmup",
    "batch_size",
    "max_length",
    "safety_share",
    "safety_count",
    "malicious_count",
)
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
    """Repetitions under other seeds: of the trained references, and of the trials if all ended on the front."""
    steps: int
    """Optimizer steps of one trial, the longest that the search can draw."""
    batch_size: int
    """Samples of one step, the most that the search can draw."""
    max_length: int
    """Tokens of the longest sample."""
    scales: int = 0
    """Scaled models of every training that are measured, at most."""
    fork_points: int = 0
    """Checkpoints of a searched trial that others may begin from, at most; shared steps make the work less."""

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

    def forks_held(self, checkpoint: float) -> float:
        """Bytes of fork points on disk at most, of ``checkpoint`` bytes each."""
        return self.searched * self.fork_points * checkpoint

    def tokens(self, length: float) -> int:
        """Training tokens of all trainings.

        Args:
            length: tokens of a sample, on average.
        """
        return round(self.total_steps * self.batch_size * length)


def model_work(spec: SweepSpec) -> Work:
    """What every model of ``spec`` has to train."""
    largest = list(extreme_trials(spec))
    return Work(
        untrained=1,
        references=len(REFERENCES) - 1,
        searched=spec.trials,
        replicates=(spec.trials + len(REFERENCES) - 1) * max(0, spec.seeds.replicates_on_front - 1),
        steps=max(trial.total_steps for trial in largest),
        batch_size=max(trial.batch_size for trial in largest),
        max_length=max(trial.max_length for trial in largest),
        scales=len(spec.evaluation.derived_scales),
        fork_points=most_fork_points(spec),
    )


def planned(spec: SweepSpec) -> int:
    """References and searched trials of all models; how many replicates will follow is decided on the way."""
    return len(spec.models) * (len(REFERENCES) + spec.trials)


def extreme_trials(spec: SweepSpec) -> Iterable[TrialConfig]:
    """The trial as it stands, and with every combination of extremes of what decides how much is trained."""
    yield spec.trial
    for arm, ranges in spec.ranges_by_arm.items():
        paths = [path for path in STEP_FIELDS if path in ranges]
        for values in product(*(ranges[path].extremes() for path in paths)):
            params: dict[str, Any] = dict(zip(paths, values, strict=True))
            try:
                yield spec.trial_config(params, arm)
            except ValidationError:
                continue  # extremes that exclude each other, which no trial has


@dataclass(frozen=True)
class Figures:
    """Measured seconds of one model's trials."""

    seconds_per_step: float
    """One optimizer step."""
    seconds_beside: float
    """One trial outside its steps: engine, rungs, checkpoints, measurement, and the pause before the next."""
    seconds_once: float = 0.0
    """What a slot's first trials of the model wait for: weights, direction and its check, data, references."""
    seconds_measuring: float = 0.0
    """One measurement in full, which every scaled model takes besides; that of the trained model is in
    ``seconds_beside``."""


@dataclass(frozen=True)
class Frame:
    """Measured seconds of a sweep beside its trials."""

    seconds_start: float
    """From the command to the first trial: checks, Ray, slots."""
    seconds_end: float
    """From the last trial to the prompt: report, pictures, MLflow."""


HEADROOM = 1.15
"""What an upper bound allows for slower minutes than those that were measured."""
EXPECTED_SHARE = 1 / 3
"""Share of the searched trials that are expected on or near the front, and so repeated."""


def sweep_seconds(
    works: Sequence[Work], figures: Sequence[Figures], slots: int, frame: Frame, *, at_most: bool = False
) -> float:
    """Seconds by the clock from the command to its end.

    Slots are played through as the searcher fills them: each gets the next trial of the model with the fewest running,
    and its first trial of a model loads that model. Pruning, which makes it less, is left out.

    Args:
        works: one per model.
        figures: one per model.
        slots: trials that run at once.
        frame: what start and end take.
        at_most: every trial is repeated under all seeds, and minutes are slower than those measured; else a third of
            the trials are, and minutes are like those.
    """
    waiting = [deque(_trials(work, at_most)) for work in works]
    free = [(0.0, slot) for slot in range(max(1, min(slots, sum(map(len, waiting)))))]
    loaded: dict[int, int] = {}
    running: dict[int, int] = {}
    end = 0.0
    while any(waiting):
        now, slot = heappop(free)
        running.pop(slot, None)
        busy = list(running.values())
        model = min((number for number, left in enumerate(waiting) if left), key=busy.count)
        measured = figures[model]
        steps = waiting[model].popleft()
        once = 0.0 if loaded.get(slot) == model else measured.seconds_once
        loaded[slot], running[slot] = model, model
        scaled = works[model].scales * measured.seconds_measuring if steps else 0.0
        done = now + once + steps * measured.seconds_per_step + measured.seconds_beside + scaled
        end = max(end, done)
        heappush(free, (done, slot))
    whole = frame.seconds_start + end + frame.seconds_end
    return whole * HEADROOM if at_most else whole


def _trials(work: Work, at_most: bool) -> list[int]:
    """Steps of every trial, in the order in which they are proposed."""
    replicates = work.replicates if at_most else ceil(work.replicates * EXPECTED_SHARE)
    return [0] * work.untrained + [work.steps] * (work.references + work.searched + replicates)


def cost(seconds: float, slots: int, resources: ResourcesConfig) -> Spent:
    """Hours, GPU-hours and money of ``slots`` slots that are held for ``seconds`` seconds."""
    return spent(seconds, slots * seconds, resources)
