"""How much more one set of trials dominates than another, given few prompts: two hypervolumes over common draws."""

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweeps.statistics.bootstrap import Estimate
from sweeps.statistics.intervals import central_interval
from sweeps.statistics.pareto import Goal, hypervolume

Array = NDArray[np.float64]


def volume_difference(
    values: tuple[ArrayLike, ArrayLike],
    draws: tuple[ArrayLike, ArrayLike],
    goals: list[Goal],
    reference: list[float],
) -> Estimate:
    """The hypervolume of a first set of trials minus that of a second, with its 95 % interval.

    The trials must have been chosen without these measurements, as a front is that was chosen on other prompts: of the
    best of what is shown, the interval would say too much. It is the hull of the percentile interval and of the normal
    one with the draws' deviation (``tests/sweeps/statistics/test_volumes.py`` simulates what it covers).

    Args:
        values: of each set ``[trials, objectives]`` as measured; an empty set dominates nothing.
        draws: of each set ``[trials, objectives, draws]`` that may be true, whose luck the two sets share where their
            trials do (:class:`sweeps.statistics.posterior.PairedDraws`).
        goals: one per objective.
        reference: from where the volume is measured, one per objective.

    Raises:
        ValueError: the shapes do not match.
    """
    ours, theirs = (np.asarray(one, dtype=np.float64).reshape(-1, len(goals)) for one in values)
    drawn = [_by_draw(one, len(goals)) for one in draws]
    if [one.shape[1] for one in drawn if one.size] != [len(one) for one in (ours, theirs) if len(one)]:
        raise ValueError(f"draws {[one.shape for one in drawn]} and values {[ours.shape, theirs.shape]} do not match")

    def difference(first: Array, second: Array) -> float:
        return hypervolume(first, goals, reference) - hypervolume(second, goals, reference)

    mean = difference(ours, theirs)
    count = max((len(one) for one in drawn if one.size), default=1)
    sides = [one if one.size else np.empty((count, 0, len(goals))) for one in drawn]
    found = np.array([difference(first, second) for first, second in zip(*sides, strict=True)])
    low, high = central_interval(found)
    reach = NormalDist().inv_cdf(0.975) * float(found.std())
    return Estimate(mean, min(low, mean - reach), max(high, mean + reach))


def _by_draw(draws: ArrayLike, objectives: int) -> Array:
    """``[draws, trials, objectives]``."""
    table = np.asarray(draws, dtype=np.float64)
    if table.size and (table.ndim != 3 or table.shape[1] != objectives):
        raise ValueError(f"draws of shape {table.shape} must be [trials, {objectives} objectives, draws]")
    return np.moveaxis(table, -1, 0) if table.size else np.empty((0, 0, objectives))
