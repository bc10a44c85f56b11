"""How sure a front's membership is, and which trial to repeat under another training seed to settle it (pure)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sweeps.goals.objectives import FeasibilityRule
from sweeps.statistics import pareto
from sweeps.statistics.pareto import Goal

DRAWS = 1000
UNLIKELY = 0.05
"""A trial with no more than this probability of being on the front is not near it, and settled."""
LIKELY = 0.95
"""A trial with at least this probability is settled as a member."""
OVER_SEEDS = 0.05
"""Standard deviation of a rate over training seeds that is allowed for before something irreversible, on the safe side:
in simulated sweeps where seeds bring .03 to .05, nothing near the final front is deleted (test_keeping.py)."""


@dataclass(frozen=True)
class Estimate:
    """What all seeds of one trial together say of one objective."""

    value: float
    """Pooled value, in the objective's unit."""
    count: tuple[float, float] | None = None
    """(successes, total) of a rate, as many independent prompts as it is worth."""
    error: float | None = None
    """Standard error of what is no rate; None where it is not known, which is not the same as exact."""
    over_samples: bool = False
    """Whether ``error`` knows of the samples; else it is the spread of a few seeds, or nothing."""
    seeds: int = 1
    """How many it is over."""

    @classmethod
    def of_rate(cls, successes: float, total: float) -> "Estimate":
        """A rate by its counts."""
        return cls(successes / total if total else math.nan, (successes, total), over_samples=True)

    def allowing_for(self, over_seeds: float, seeds: int) -> "Estimate":
        """The same with the luck of ``seeds`` training seeds: a standard deviation for rates, twice the error else."""
        if self.count is None:
            return replace(self, error=2 * self.error if self.error and over_seeds else self.error)
        successes, total = self.count
        rate = (successes + 0.5) / (total + 1)
        inside = rate * (1 - rate) / total if total else math.inf
        share = inside / (inside + over_seeds**2 / seeds) if total else 1.0
        return replace(self, count=(successes * share, total * share))

    @property
    def known(self) -> bool:
        """Whether anything is known of how far the value may be off."""
        return self.count is not None or self.error is not None

    def draws(self, generator: np.random.Generator, count: int) -> NDArray[np.float64]:
        """``[count]`` values that the true one could have; what has no known error is taken as exact."""
        if self.count is not None:
            successes, total = self.count
            return generator.beta(successes + 0.5, total - successes + 0.5, count)
        if self.error is None:
            return np.full(count, self.value)
        if self.over_samples:
            return generator.normal(self.value, self.error, count)
        return self.value + self.error * generator.standard_t(self.seeds - 1, count)


def estimate_over_seeds(
    values: Sequence[float],
    counts: Sequence[tuple[int, int] | None],
    errors: Sequence[float | None] | None = None,
) -> Estimate:
    """What several seeds, which answered the same prompts, say of one objective, without the answers by prompt.

    The variance of the mean is that over samples, which asking the same ones again does not lessen, plus that over the
    seeds divided by their number: the two parts of the two-way bootstrap. It is rather too large, since the spread of
    the seeds holds some of the luck of the samples too.

    Args:
        values: one per seed.
        counts: (successes, total) per seed, none where the objective is no rate.
        errors: standard error over samples per seed, none where it is not known; one that is 0 or infinite is not.
    """
    known = [count for count in counts if count is not None]
    spread = float(np.var(values, ddof=1)) / len(values) if len(values) > 1 else 0.0
    if known and len(known) == len(counts):
        successes, total = sum(count[0] for count in known), sum(count[1] for count in known)
        rate, prompts = (successes / total if total else math.nan), total / len(known)
        smoothed = (successes + 0.5) / (total + 1)  # as the posterior's: at 0 % and 100 % a rate is not exact either
        over_samples = smoothed * (1 - smoothed) / prompts if prompts else math.inf
        worth = prompts * over_samples / (over_samples + spread) if prompts else 0.0
        count = (rate * worth, worth) if worth else (0.0, 0.0)
        return Estimate(rate, count, over_samples=True, seeds=len(values))
    inside = [error for error in errors or () if error is not None and 0 < error < math.inf]
    mean = float(np.mean(values))
    if inside:
        error = math.sqrt(float(np.mean(np.square(inside))) + spread)
        return Estimate(mean, None, error, over_samples=True, seeds=len(values))
    return Estimate(mean, None, math.sqrt(spread) if spread > 0 else None, seeds=len(values))


@dataclass(frozen=True)
class Candidate:
    """A finished trial that could be on the front."""

    id: str
    seeds: int
    """Training seeds it was started with so far, whether measured, under way or failed."""
    estimates: tuple[Estimate, ...]
    """One per objective."""
    bounded: tuple[tuple[Estimate, FeasibilityRule], ...] = ()
    """The rules it must keep, each with what is known of the metric that it bounds."""

    def allowing_for(self, over_seeds: float) -> "Candidate":
        """The same with a standard deviation of rates over training seeds, of which it was measured with some."""
        wider = tuple(estimate.allowing_for(over_seeds, self.seeds) for estimate in self.estimates)
        bounded = tuple((estimate.allowing_for(over_seeds, self.seeds), rule) for estimate, rule in self.bounded)
        return replace(self, estimates=wider, bounded=bounded) if over_seeds else self

    @property
    def known(self) -> bool:
        """Whether the error of every objective is known."""
        return all(estimate.known for estimate in self.estimates)


def probability_on_front(candidates: Sequence[Candidate], goals: Sequence[Goal], seed: int = 0) -> NDArray[np.float64]:
    """How probable it is that each candidate is on the front, from ``DRAWS`` parametric bootstrap draws.

    Rates are drawn from their Jeffreys posterior Beta(successes + 1/2, failures + 1/2), means over samples from the
    normal distribution of their standard error, and what only a few seeds tell of from Student's t. What the rules
    bound is drawn likewise: a trial is off the front, and beats nobody, in the draws in which it breaks one. A trial
    with an objective whose error is not known has no probability; while such a trial is near the front, no trial has
    one, since it may be on either side of them.

    Args:
        candidates: all that could be on the front.
        goals: one per objective.
        seed: of the draws.

    Returns:
        ``[n]``; NaN where it is not known.
    """
    found = chances(candidates, goals, seed)
    unknown = np.array([not candidate.known for candidate in candidates], dtype=np.bool_)
    if bool((unknown & (found > UNLIKELY)).any()):
        unknown[:] = True
    return np.where(unknown, math.nan, found)


def chances(candidates: Sequence[Candidate], goals: Sequence[Goal], seed: int = 0) -> NDArray[np.float64]:
    """:func:`probability_on_front` with what has no known error taken as exact: who is near the front, no more.

    Returns:
        ``[n]``.
    """
    generator = np.random.default_rng(seed)
    draws = np.empty((DRAWS, len(candidates), len(goals)))
    for row, candidate in enumerate(candidates):
        for column, estimate in enumerate(candidate.estimates):
            draws[:, row, column] = estimate.draws(generator, DRAWS)
        for estimate, rule in candidate.bounded:
            # An end of the scale can be met but never drawn, and without a value no draw keeps the rule.
            as_measured = estimate.count is not None and rule.bound in (0.0, 1.0)
            values = np.full(DRAWS, estimate.value) if as_measured else estimate.draws(generator, DRAWS)
            draws[~rule.kept_by(values), row] = math.nan
    return pareto.probability_on_front(draws, goals)


def next_replicate(candidates: Sequence[Candidate], goals: Sequence[Goal], seeds: int) -> str | None:
    """The trial to repeat next; None when membership is settled or every trial near the front has its seeds.

    Near the front are the trials whose chance of being on it is above ``UNLIKELY``. The one with the fewest seeds
    comes first, and of those the one whose membership is least certain. Membership is settled when no probability
    lies between ``UNLIKELY`` and ``LIKELY``; but never by values whose error over samples is not known, since a few
    seeds may agree by luck, nor where one trial is alone in keeping the rules, since there is nothing that could
    settle it: they get all their seeds.

    Args:
        candidates: all finished trials of a model, each once.
        goals: one per objective.
        seeds: that a trial near the front shall be measured with in all.
    """
    if not candidates:
        return None
    found = chances(candidates, goals).tolist()
    near = [
        (candidate, chance, index)
        for index, (candidate, chance) in enumerate(zip(candidates, found, strict=True))
        if chance > UNLIKELY
    ]
    measured = all(estimate.over_samples for candidate, _, _ in near for estimate in candidate.estimates)
    rivals = sum(all(rule.holds({rule.metric: e.value}) for e, rule in one.bounded) for one in candidates)
    if rivals > 1 and measured and all(chance >= LIKELY for _, chance, _ in near):
        return None
    wanting = [
        (candidate.seeds, abs(chance - 0.5), index) for candidate, chance, index in near if candidate.seeds < seeds
    ]
    return candidates[min(wanting)[2]].id if wanting else None
