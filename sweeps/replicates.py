"""Which trial to repeat under another training seed, so that the front's membership is settled (pure)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sweeps import pareto
from sweeps.objectives import FeasibilityRule
from sweeps.pareto import Goal

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
    error: float = 0.0
    """Standard error over the seeds of what is no rate; 0 for one seed."""

    def allowing_for(self, over_seeds: float, seeds: int) -> "Estimate":
        """The same with the luck of ``seeds`` training seeds: a standard deviation for rates, twice the error else."""
        if self.count is None:
            return replace(self, error=2 * self.error if self.error and over_seeds else self.error)
        successes, total = self.count
        rate = (successes + 0.5) / (total + 1)
        inside = rate * (1 - rate) / total if total else math.inf
        share = inside / (inside + over_seeds**2 / seeds) if total else 1.0
        return replace(self, count=(successes * share, total * share))

    @classmethod
    def of_rate(cls, successes: float, total: float) -> "Estimate":
        """A rate by its counts."""
        return cls(successes / total if total else math.nan, (successes, total))


def estimate_over_seeds(values: Sequence[float], counts: Sequence[tuple[int, int] | None]) -> Estimate:
    """What several seeds say of one objective, as far as the search needs it, which has no answers by prompt.

    Rates are pooled over seeds by adding their counts. That the same prompts are asked each time, so that two seeds
    say less than twice as much, is not modelled.

    Args:
        values: one per seed.
        counts: (successes, total) per seed, none where the objective is no rate.
    """
    known = [count for count in counts if count is not None]
    if known and len(known) == len(counts):
        return Estimate.of_rate(sum(count[0] for count in known), sum(count[1] for count in known))
    spread = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return Estimate(float(np.mean(values)), None, spread)


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


def probability_on_front(candidates: Sequence[Candidate], goals: Sequence[Goal], seed: int = 0) -> NDArray[np.float64]:
    """How probable it is that each candidate is on the front, from ``DRAWS`` parametric bootstrap draws.

    Rates are drawn from their Jeffreys posterior Beta(successes + 1/2, failures + 1/2), other objectives from the
    normal distribution of their mean over seeds. What the rules bound is drawn likewise: a trial is off the front, and
    beats nobody, in the draws in which it breaks one.

    Args:
        candidates: all that could be on the front.
        goals: one per objective.
        seed: of the draws.

    Returns:
        ``[n]``.
    """
    generator = np.random.default_rng(seed)
    draws = np.empty((DRAWS, len(candidates), len(goals)))
    for row, candidate in enumerate(candidates):
        for column, estimate in enumerate(candidate.estimates):
            draws[:, row, column] = _drawn(estimate, generator)
        for estimate, rule in candidate.bounded:
            # An end of the scale can be met but never drawn, and without a value no draw keeps the rule.
            as_measured = estimate.count is not None and rule.bound in (0.0, 1.0)
            values = np.full(DRAWS, estimate.value) if as_measured else _drawn(estimate, generator)
            draws[~rule.kept_by(values), row] = math.nan
    return pareto.probability_on_front(draws, goals)


def _drawn(estimate: Estimate, generator: np.random.Generator) -> NDArray[np.float64]:
    """``[DRAWS]`` values of what ``estimate`` is about."""
    if estimate.count is not None:
        successes, total = estimate.count
        return generator.beta(successes + 0.5, total - successes + 0.5, DRAWS)
    return generator.normal(estimate.value, estimate.error, DRAWS)


def next_replicate(candidates: Sequence[Candidate], goals: Sequence[Goal], seeds: int) -> str | None:
    """The trial to repeat next; none when membership is settled or every trial near the front has its seeds.

    Near the front are the trials whose probability of being on it is above ``UNLIKELY``. The one with the fewest seeds
    comes first, and of those the one whose membership is least certain. Membership is settled when no probability
    lies between ``UNLIKELY`` and ``LIKELY``.

    Args:
        candidates: all finished trials of a model, each once.
        goals: one per objective.
        seeds: that a trial near the front shall be measured with in all.
    """
    if not candidates:
        return None
    probabilities = probability_on_front(candidates, goals).tolist()
    if not any(UNLIKELY < probability < LIKELY for probability in probabilities):
        return None
    wanting = [
        (candidate.seeds, abs(probability - 0.5), index)
        for index, (candidate, probability) in enumerate(zip(candidates, probabilities, strict=True))
        if probability > UNLIKELY and candidate.seeds < seeds
    ]
    return candidates[min(wanting)[2]].id if wanting else None
