"""Pareto fronts of several objectives, and the hypervolume they dominate (pure NumPy)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Goal = Literal["minimize", "maximize"]
Array = NDArray[np.float64]


def non_dominated(values: ArrayLike, goals: Sequence[Goal]) -> NDArray[np.bool_]:
    """Which rows no other row dominates, that is, is at least as good everywhere and better somewhere.

    Equal rows do not dominate each other, so duplicates of a front member are all on the front. A row with a NaN
    was not measured: it is never on the front and dominates nothing.

    Args:
        values: ``[n, objectives]``, one row a trial.
        goals: one per objective.

    Returns:
        ``[n]``, True on the front.

    Raises:
        ValueError: the shapes do not match.
    """
    costs = _as_costs(values, goals)
    at_least_as_good = np.all(costs[:, None, :] <= costs[None, :, :], axis=2)  # a comparison with a NaN is False
    better_somewhere = np.any(costs[:, None, :] < costs[None, :, :], axis=2)
    dominated = np.logical_or.reduce(at_least_as_good & better_somewhere, axis=0)
    measured = ~np.logical_or.reduce(np.isnan(costs), axis=1)
    front: NDArray[np.bool_] = measured & ~dominated
    return front


def hypervolume(values: ArrayLike, goals: Sequence[Goal], reference: ArrayLike) -> float:
    """Volume of objective space that ``values`` dominate up to ``reference``, exact for any number of objectives.

    Only what is better than the reference in every objective counts; rows with a NaN count nothing.

    Args:
        values: ``[n, objectives]``, one row a trial; they need not be a front.
        goals: one per objective.
        reference: ``[objectives]``, the worst value of each objective that is still of interest.

    Returns:
        the volume, 0.0 for no rows, in the product of the objectives' units.

    Raises:
        ValueError: the shapes do not match, or the reference is not finite.
    """
    costs = _as_costs(values, goals)
    worst = np.asarray(reference, dtype=np.float64)
    if worst.shape != (len(goals),) or not np.isfinite(worst).all():
        raise ValueError(f"reference ({worst.tolist()}) must hold one finite value for each of {len(goals)} objectives")
    corner = _as_costs(worst[None, :], goals)[0]
    inside = costs[(costs < corner).all(axis=1)]
    return _dominated_volume(inside, corner)


def _as_costs(values: ArrayLike, goals: Sequence[Goal]) -> Array:
    """``values`` with maximised objectives negated, so that smaller is better everywhere."""
    table = np.asarray(values, dtype=np.float64)
    if table.size == 0:
        return np.empty((0, len(goals)))
    if table.ndim != 2 or table.shape[1] != len(goals):
        raise ValueError(f"values of shape {table.shape} do not fit {len(goals)} objectives: pass [n, {len(goals)}]")
    return table * np.where([goal == "maximize" for goal in goals], -1.0, 1.0)


def _dominated_volume(costs: Array, corner: Array) -> float:
    """Volume between minimised ``costs`` ``[n, objectives]``, all below ``corner``, and ``corner``.

    Slices along the last objective: between two neighbouring values of it, the cross-section is the volume, one
    dimension lower, of the points already passed. One and two objectives end the recursion in closed form.
    """
    if len(costs) == 0:
        return 0.0
    if costs.shape[1] == 1:
        return float(corner[0] - costs.min())
    costs = costs[np.argsort(costs[:, -1], kind="stable")]
    if costs.shape[1] == 2:
        best_first = np.minimum.accumulate(costs[:, 0])
        heights = np.diff(np.append(costs[:, 1], corner[1]))
        return float(((corner[0] - best_first) * heights).sum())
    depths = np.diff(np.append(costs[:, -1], corner[-1]))
    volume = 0.0
    for passed, depth in enumerate(depths, start=1):
        if depth > 0:
            section = costs[:passed, :-1]
            minimal = section[non_dominated(section, ["minimize"] * section.shape[1])]
            volume += float(depth) * _dominated_volume(np.unique(minimal, axis=0), corner[:-1])
    return volume
