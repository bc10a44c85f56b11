"""Bootstrap intervals of rates over prompts and over training seeds."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweeps.statistics.intervals import Interval, central_interval, wilson_interval_of_rate

Array = NDArray[np.float64]
DRAWS = 2000
_BLOCK = 100_000
"""Resampled values held at once, few enough for the processor's cache."""


@dataclass(frozen=True)
class Estimate:
    """A mean and its interval."""

    mean: float
    low: float
    high: float


def two_way_interval(outcomes: ArrayLike, confidence: float = 0.95, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """Rate over training seeds and prompts, where every seed answered the same prompts.

    The two-way (pigeonhole) bootstrap of Owen (2007) draws seeds and prompts anew, independently of each other, and
    takes percentiles. Asking a prompt again under another seed brings no new prompt, so the interval is widened where
    needed to Wilson's at the number of distinct prompts. Three seeds say little of all seeds: the bootstrap
    understates their spread by the factor sqrt(1 - 1/seeds).

    Args:
        outcomes: ``[seeds, prompts]`` of 0 and 1.
        confidence: two-sided coverage, between 0 and 1.
        draws: bootstrap samples.
        seed: of the draws.

    Returns:
        the mean and its bounds, within [0, 1].

    Raises:
        ValueError: ``outcomes`` is empty, of another shape, or holds something else than 0 and 1.
    """
    table = as_outcomes(outcomes, "outcomes")
    generator = np.random.default_rng(seed)
    seeds, prompts = table.shape

    def resample(count: int) -> Array:
        rows = _weights(generator, count, seeds) @ table
        columns = generator.integers(0, prompts, (count, prompts))
        means: Array = np.take_along_axis(rows, columns, axis=1).mean(axis=1)
        return means

    mean = float(table.mean())
    low, high = _percentiles(resample, prompts, draws, confidence)
    least = wilson_interval_of_rate(mean, prompts, confidence)
    return Estimate(mean, min(low, least[0]), max(high, least[1]))


def as_outcomes(outcomes: ArrayLike, name: str) -> Array:
    """``outcomes`` as a checked table ``[seeds, prompts]``.

    Raises:
        ValueError: it is empty, of another shape, or holds something else than 0 and 1; the text begins with ``name``.
    """
    table = np.asarray(outcomes, dtype=np.float64)
    if table.ndim != 2 or table.size == 0 or not np.isin(table, (0.0, 1.0)).all():
        raise ValueError(f"{name} of shape {table.shape} must be [seeds, prompts] of 0 and 1, and not empty")
    return table


def _weights(generator: np.random.Generator, count: int, size: int) -> Array:
    """``[count, size]`` shares with which each of ``size`` units was drawn in ``size`` draws with replacement."""
    drawn = generator.integers(0, size, (count, size)) + size * np.arange(count)[:, None]
    tally = np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size)
    return tally / size


def _percentiles(resample: Callable[[int], Array], width: int, draws: int, confidence: float) -> Interval:
    """Percentile interval of ``draws`` resampled statistics, made a block of at most ``_BLOCK`` values at a time."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence ({confidence}) must lie between 0 and 1: write 0.95 for 95 %")
    if draws < 1:
        raise ValueError(f"draws ({draws}) must be at least 1")
    block = max(1, _BLOCK // width)
    statistics = np.concatenate([resample(min(block, draws - start)) for start in range(0, draws, block)])
    return central_interval(statistics, confidence)
