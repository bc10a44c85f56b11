"""Fronts in a model's own units: what plain fine-tuning lost of safety and gained of the task is 1 (pure NumPy).

Points are (share of lost safety regained, share of task gain kept): (0, 1) is plain fine-tuning, (1, 0) the untouched
model, (1, 1) both at once.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweeps.statistics.intervals import Interval, central_interval

Array = NDArray[np.float64]


def share(values: ArrayLike, zero: ArrayLike, one: ArrayLike) -> Array:
    """Where ``values`` lie on the way from ``zero`` (0) to ``one`` (1); NaN where these two are the same."""
    start = np.asarray(zero, dtype=np.float64)
    way = np.asarray(one, dtype=np.float64) - start
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Array = np.where(way == 0, np.nan, (np.asarray(values, dtype=np.float64) - start) / way)
    return found


def unit_hypervolume(points: ArrayLike) -> Array:
    """Area of the unit square that maximised ``points`` dominate; what lies beyond 1 counts as 1, NaN counts nothing.

    Args:
        points: ``[..., n, 2]``.

    Returns:
        ``[...]``, between 0 and 1.

    Raises:
        ValueError: the points are of another shape.
    """
    table = np.asarray(points, dtype=np.float64)
    if table.ndim < 2 or table.shape[-1] != 2:
        raise ValueError(f"points of shape {table.shape} must be [..., n, 2]")
    inside = np.where(np.isnan(table).any(axis=-1, keepdims=True), 0.0, np.clip(table, 0.0, 1.0))
    order = np.argsort(-inside[..., 0], axis=-1, kind="stable")
    first, second = (np.take_along_axis(inside[..., column], order, -1) for column in (0, 1))
    next_first = np.concatenate([first[..., 1:], np.zeros_like(first[..., :1])], axis=-1)
    area: Array = ((first - next_first) * np.maximum.accumulate(second, axis=-1)).sum(axis=-1)
    return area


def reflected_interval(value: float, draws: ArrayLike) -> Interval:
    """The basic bootstrap interval, which takes off what a statistic such as a hypervolume gains by noise.

    The largest of several noisy values is too large on average, and in draws around these once more; the interval
    is the percentile interval mirrored at ``value`` (Davison and Hinkley 1997, 5.2.1), within [0, 1].
    """
    low, high = central_interval(draws)
    return max(0.0, min(value, 2 * value - high)), min(1.0, max(value, 2 * value - low))


def knee(points: ArrayLike) -> int | None:
    """The point that lies farthest beyond the straight line between the two ends of a front (Das 1999).

    There, one unit more of either share begins to cost more than one of the other, in proportion to the whole front.

    Args:
        points: ``[n, 2]`` maximised, finite; dominated ones are passed over.

    Returns:
        its index; None where the front has no point between its ends, or none beyond the line.
    """
    table = np.asarray(points, dtype=np.float64)
    if len(table) < 3:
        return None
    at_least = (table[:, None, :] >= table[None, :, :]).all(axis=-1)
    better = at_least & (table[:, None, :] > table[None, :, :]).any(axis=-1)
    front = np.flatnonzero(~better.any(axis=0))
    ends = [int(front[np.argmax(table[front, column])]) for column in (0, 1)]
    if len(front) < 3 or ends[0] == ends[1]:
        return None
    start, way = table[ends[0]], table[ends[1]] - table[ends[0]]
    reach = table[front] - start
    beyond = (reach[:, 0] * way[1] - reach[:, 1] * way[0]) / np.hypot(*way)
    best = int(np.argmax(beyond))
    return int(front[best]) if beyond[best] > 1e-12 else None
