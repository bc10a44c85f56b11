"""Which trials to stop at a rung: asynchronous successive halving on non-domination, with a guard (pure)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from pydantic import Field, field_validator

from sweeps.statistics.intervals import wilson_interval
from sweeps.statistics.pareto import Goal, crowding, ranks
from training.config import Config
from training.evaluation.scores import Scores


class PruningConfig(Config):
    """When a trial is stopped before its end; ``pruning: null`` lets every trial finish."""

    rungs: list[float] = Field(default=[0.4, 0.7], min_length=1)
    """Shares of a trial's steps at which it is judged, ascending, between 0 and 1."""
    reduction: float = Field(default=3.0, gt=1)
    """Of the trials seen at a rung the best 1/reduction go on: 3 keeps a third."""
    minimum: int = Field(default=4, ge=2)
    """Fewest trials at a rung, the judged one included, before any is stopped there."""
    confidence: float = Field(default=0.95, ge=0, lt=1)
    """A trial goes on that could be on the rung's front within this confidence interval; 0 takes values as exact."""
    metrics: dict[str, str] = Field(default_factory=dict)
    """Rung metric by objective metric, where the default does not fit, as {utility/accuracy: utility/forced_match}."""

    @field_validator("rungs")
    @classmethod
    def _ascending_shares(cls, rungs: list[float]) -> list[float]:
        ascending = all(one < other for one, other in pairwise(rungs))
        if not ascending or not all(0 < rung < 1 for rung in rungs):
            raise ValueError(
                f"rungs ({rungs}) must be ascending shares of a trial's steps, above 0 and below 1: "
                "write them as [0.4, 0.7]"
            )
        return rungs


@dataclass(frozen=True)
class RungResult:
    """What one trial measured at a rung."""

    id: str
    """The trial."""
    values: tuple[float, ...]
    """One per goal, in the order of the goals; NaN where it could not be measured."""
    errors: tuple[float, ...]
    """Standard errors of the values; 0 where a value is exact or its error is not known."""


@dataclass(frozen=True)
class Decision:
    """Whether a trial is stopped at a rung."""

    prune: bool
    reason: str
    """One clause for the journal and the report."""


def rung_steps(config: PruningConfig, total_steps: int) -> tuple[int, ...]:
    """The steps after which a trial of ``total_steps`` steps is judged: distinct, at least 1, below ``total_steps``."""
    steps = {max(1, round(share * total_steps)) for share in config.rungs}
    return tuple(sorted(step for step in steps if step < total_steps))


def rung_at(config: PruningConfig, total_steps: int, step: int) -> float | None:
    """Which of ``config.rungs`` a trial of ``total_steps`` steps is at after ``step``; None where it is at none.

    Trials meet at the same share of their steps: where something that decides how many there are is searched, such as
    an extra warm-up, they are never at the same step. Of rungs that fall on one step it is the last.
    """
    shares = [share for share in config.rungs if max(1, round(share * total_steps)) == step < total_steps]
    return shares[-1] if shares else None


def rung_result(trial: str, chosen: Sequence[tuple[str, Goal]], scores: Scores) -> RungResult:
    """What pruning looks at of one trial's measurement at a rung.

    Args:
        trial: its id.
        chosen: what :func:`sweeps.goals.rung_metrics.rung_goals` says.
        scores: what was measured; a value that is absent is NaN. A rate's error is half the width of its Wilson
            interval at one standard deviation, which is not 0 at 0 % or 100 %.
    """
    names = [name for name, _ in chosen]
    values = tuple(scores.metrics.get(name, math.nan) for name in names)
    return RungResult(trial, values, tuple(_error(name, scores) for name in names))


def decide(new: RungResult, others: Sequence[RungResult], goals: Sequence[Goal], config: PruningConfig) -> Decision:
    """Whether to stop the trial that has just reached a rung, given all that reached it before.

    Asynchronous successive halving (Li et al. 2020) for several objectives: trials are ordered by non-domination rank,
    then by crowding distance (Deb 2002), and the best ``max(1, floor(n / reduction))`` of the n seen so far go on. One
    objective makes it plain ASHA. Nothing waits: the first trials at a rung are judged leniently.

    The guard: a trial outside that share goes on nevertheless unless another dominates it even when each of its own
    values is moved to the better end of its confidence interval. The others' values are taken as measured: the same
    prompts measure all trials, so their errors are alike, and moving both sides would count them twice. A trial that
    nothing dominates is therefore never stopped, whatever the confidence.

    Args:
        new: the judged trial.
        others: results of trials at this rung, in any order, those since stopped included. A result under the id of
            ``new`` (of an attempt that was cut off) and results that could not be measured are left out.
        goals: one per value.
        config: share, minimum and confidence.

    Raises:
        ValueError: a result has not one value and one error per goal.
    """
    for result in (new, *others):
        if not len(result.values) == len(result.errors) == len(goals):
            raise ValueError(
                f"the result of {result.id} must hold one value and one error for each goal ({len(goals)})"
            )
    if any(math.isnan(value) for value in new.values):
        return Decision(False, "goes on: a rung metric could not be measured")
    rivals = [other for other in others if other.id != new.id and not any(map(math.isnan, other.values))]
    count = len(rivals) + 1
    if count < config.minimum:
        return Decision(False, f"goes on: {count} of the {config.minimum} trials needed have been seen at this rung")
    admitted = max(1, math.floor(count / config.reduction))
    place = _place(new, rivals, goals)
    if place <= admitted:
        return Decision(False, f"goes on: place {place} of {count}, and the best {admitted} go on")
    dominating = _dominating(new, rivals, goals, config.confidence)
    if dominating is None:
        within = f"within its {config.confidence:.0%} interval" if config.confidence else "as measured"
        return Decision(False, f"goes on: place {place} of {count}, but no trial dominates it {within}")
    beyond = f", even at the better end of its {config.confidence:.0%} interval" if config.confidence else ""
    return Decision(True, f"place {place} of {count}, the best {admitted} go on; dominated by {dominating}{beyond}")


def _place(new: RungResult, rivals: Sequence[RungResult], goals: Sequence[Goal]) -> int:
    """Place of ``new`` by rank and crowding, 1 is best; ties are settled in its favour, so no order has an effect."""
    values = [new.values, *(rival.values for rival in rivals)]
    rank, distance = ranks(values, goals), crowding(values, goals)
    better = (rank < rank[0]) | ((rank == rank[0]) & (distance > distance[0]))
    return 1 + int(better.sum())


def _dominating(new: RungResult, rivals: Sequence[RungResult], goals: Sequence[Goal], confidence: float) -> str | None:
    """The first rival by id that dominates ``new`` at the better ends of its intervals."""
    deviations = NormalDist().inv_cdf((1 + confidence) / 2)
    signs = np.array([-1.0 if goal == "maximize" else 1.0 for goal in goals])
    margin = deviations * np.array(new.errors) if confidence else np.zeros(len(goals))  # 0 times infinity is no number
    optimistic = signs * np.array(new.values) - margin
    if not rivals:
        return None
    costs = signs * np.array([rival.values for rival in rivals])
    dominating = (costs <= optimistic).all(axis=1) & (costs < optimistic).any(axis=1)
    return min((rivals[int(index)].id for index in np.flatnonzero(dominating)), default=None)


def _error(metric: str, scores: Scores) -> float:
    if metric not in scores.counts:
        return scores.errors.get(metric, 0.0)
    low, high = wilson_interval(*scores.counts[metric], confidence=NormalDist().cdf(1) - NormalDist().cdf(-1))
    return (high - low) / 2
