"""Pareto fronts of several objectives, and the hypervolume they dominate (pure NumPy)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Goal = Literal["minimize", "maximize"]
Array = NDArray[np.float64]
_BLOCK = 256
"""Rows compared with all others at once, so that memory grows with n and not with its square."""


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
    if len(costs) == 0:
        return np.zeros(0, dtype=np.bool_)
    return _front_of_two(costs) if len(goals) == 2 else _front_by_pairs(costs)


def ranks(values: ArrayLike, goals: Sequence[Goal]) -> NDArray[np.int64]:
    """Non-domination rank of every row: 0 on the front, 1 on the front of what is then left, and so on (Deb 2002).

    Equal rows share a rank. Rows with a NaN were not measured and come one rank after the worst measured one.

    Args:
        values: ``[n, objectives]``, one row a trial.
        goals: one per objective.

    Returns:
        ``[n]``.

    Raises:
        ValueError: the shapes do not match.
    """
    costs = _as_costs(values, goals)
    left = ~np.logical_or.reduce(np.isnan(costs), axis=1)
    found = np.full(len(costs), -1, dtype=np.int64)
    rank = 0
    while left.any():
        remaining = np.flatnonzero(left)
        front = remaining[non_dominated(costs[remaining], ["minimize"] * len(goals))]
        found[front] = rank
        left[front] = False
        rank += 1
    found[found < 0] = rank
    return found


def crowding(values: ArrayLike, goals: Sequence[Goal]) -> Array:
    """Crowding distance of every row among those of its rank (Deb 2002): how far its neighbours are from each other.

    Per objective, the distance between the next better and the next worse value over the range of the rank, summed
    over objectives. A row that is best or worst in its rank is infinitely far, whatever its other objectives. Equal
    rows count as one, so that their order is of no effect.

    Args:
        values: ``[n, objectives]``, one row a trial.
        goals: one per objective.

    Returns:
        ``[n]``; larger is lonelier. 0 for rows with a NaN.

    Raises:
        ValueError: the shapes do not match.
    """
    costs = _as_costs(values, goals)
    distance = np.zeros(len(costs))
    rank = ranks(costs, ["minimize"] * len(goals))
    measured = ~np.logical_or.reduce(np.isnan(costs), axis=1)
    for level in np.unique(rank[measured]):
        members = np.flatnonzero(measured & (rank == level))
        rows, inverse = np.unique(costs[members], axis=0, return_inverse=True)
        distance[members] = _crowding_of_front(rows)[inverse.ravel()]
    return distance


def probability_on_front(draws: ArrayLike, goals: Sequence[Goal]) -> Array:
    """Share of draws in which each trial is on the front.

    Args:
        draws: ``[draws, n, objectives]``, every trial's values drawn anew, by a bootstrap or from a posterior.
        goals: one per objective.

    Returns:
        ``[n]``, between 0 and 1.

    Raises:
        ValueError: the shapes do not match, or there is no draw.
    """
    share: Array = on_fronts(draws, goals).mean(axis=0)
    return share


def on_fronts(draws: ArrayLike, goals: Sequence[Goal]) -> NDArray[np.bool_]:
    """Who is on the front of each draw; see :func:`probability_on_front`.

    Returns:
        ``[draws, n]``.

    Raises:
        ValueError: the shapes do not match, or there is no draw.
    """
    table = np.asarray(draws, dtype=np.float64)
    if table.ndim != 3 or len(table) == 0 or table.shape[2] != len(goals):
        raise ValueError(f"draws of shape {table.shape} must be [draws, n, {len(goals)}] with at least one draw")
    costs = table * _signs(goals)
    if costs.shape[1] == 0:
        return np.zeros((len(table), 0), dtype=np.bool_)
    return _front_of_two(costs) if len(goals) == 2 else np.stack([_front_by_pairs(draw) for draw in costs])


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
    return table * _signs(goals)


def _signs(goals: Sequence[Goal]) -> Array:
    return np.where([goal == "maximize" for goal in goals], -1.0, 1.0)


def _front_by_pairs(costs: Array) -> NDArray[np.bool_]:
    """Front of minimised ``costs`` ``[n, objectives]``: every row against every other, a block of rows at a time."""
    dominated = np.empty(len(costs), dtype=np.bool_)
    for start in range(0, len(costs), _BLOCK):
        block = costs[start : start + _BLOCK]
        at_least_as_good = np.ones((len(costs), len(block)), dtype=np.bool_)
        better_somewhere = np.zeros((len(costs), len(block)), dtype=np.bool_)
        for column, judged in zip(costs.T, block.T, strict=True):  # ten times as fast as reducing a short last axis
            at_least_as_good &= column[:, None] <= judged  # a comparison with a NaN is False
            better_somewhere |= column[:, None] < judged
        dominated[start : start + _BLOCK] = np.logical_or.reduce(at_least_as_good & better_somewhere, axis=0)
    front: NDArray[np.bool_] = ~dominated & ~np.logical_or.reduce(np.isnan(costs), axis=1)
    return front


def _front_of_two(costs: Array) -> NDArray[np.bool_]:
    """Fronts of minimised ``costs`` ``[..., n, 2]``, n at least 1, by one sort each.

    In the order of the first objective, ties by the second, a row is dominated exactly if a row before it that is not
    its equal is at least as good in the second.
    """
    unmeasured = np.logical_or.reduce(np.isnan(costs), axis=-1)
    first, second = np.moveaxis(np.where(unmeasured[..., None], np.inf, costs), -1, 0)  # infinity dominates nothing
    order = np.lexsort((second, first), axis=-1)
    first, second = np.take_along_axis(first, order, -1), np.take_along_axis(second, order, -1)
    best_before = np.minimum.accumulate(second, axis=-1)[..., :-1]
    best_before = np.concatenate([np.full_like(second[..., :1], np.inf), best_before], axis=-1)
    is_new = np.ones(order.shape, dtype=np.bool_)
    is_new[..., 1:] = (first[..., 1:] != first[..., :-1]) | (second[..., 1:] != second[..., :-1])
    # Equal rows are judged by what lies before the first of them.
    start = np.maximum.accumulate(np.where(is_new, np.arange(order.shape[-1]), 0), axis=-1)
    best_before = np.take_along_axis(best_before, start, -1)
    dominated = np.empty(order.shape, dtype=np.bool_)
    np.put_along_axis(dominated, order, (best_before <= second) & (start > 0), axis=-1)
    front: NDArray[np.bool_] = ~dominated & ~unmeasured
    return front


def _crowding_of_front(rows: Array) -> Array:
    """Crowding distances of the distinct ``rows`` ``[n, objectives]`` of one rank."""
    distance = np.zeros(len(rows))
    for column in rows.T:
        order = np.argsort(column, kind="stable")
        spread = column[order[-1]] - column[order[0]]
        distance[order[[0, -1]]] = np.inf
        if 0 < spread < np.inf:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / spread
    return distance


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
