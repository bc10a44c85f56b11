"""Intervals around measured values, and p-values of several comparisons."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

Interval = tuple[float, float]


def wilson_interval(successes: int, total: int, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a rate (Wilson 1927), which keeps its coverage at 0 %, at 100 % and at small counts.

    The bounds are the two solutions p of ``(successes/total - p)^2 = z^2 p (1 - p) / total``.

    Args:
        successes: how often the event was seen.
        total: how many distinct prompts could have shown it; 0 says nothing, so the interval is (0.0, 1.0).
        confidence: two-sided coverage, between 0 and 1.

    Returns:
        lower and upper bound, within [0, 1].

    Raises:
        ValueError: the counts or the confidence are impossible.
    """
    if total < 0 or not 0 <= successes <= total:
        raise ValueError(f"successes ({successes}) must lie between 0 and total ({total})")
    return wilson_interval_of_rate(successes / total if total else 0.0, total, confidence)


def wilson_interval_of_rate(rate: float, total: int, confidence: float = 0.95) -> Interval:
    """:func:`wilson_interval` of a rate that need not be a whole number of successes, such as a mean over seeds.

    Args:
        rate: between 0 and 1.
        total: distinct prompts; 0 says nothing, so the interval is (0.0, 1.0).
        confidence: two-sided coverage, between 0 and 1.

    Raises:
        ValueError: the rate, the total or the confidence are impossible.
    """
    if total < 0 or not 0 <= rate <= 1:
        raise ValueError(f"rate ({rate}) must lie between 0 and 1, and total ({total}) must not be negative")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence ({confidence}) must lie between 0 and 1: write 0.95 for 95 %")
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    scale = 1 + z * z / total
    center = (rate + z * z / (2 * total)) / scale
    margin = z / scale * math.sqrt(rate * (1 - rate) / total + z * z / (4 * total * total))
    # The ends are exact in the algebra but not in floating point.
    low = 0.0 if rate == 0 else max(0.0, center - margin)
    high = 1.0 if rate == 1 else min(1.0, center + margin)
    return low, high


def interval_of_mean(mean: float, error: float, values: int | None = None, confidence: float = 0.95) -> Interval:
    """Interval of a mean by its standard error, in the mean's unit.

    Args:
        mean: the mean.
        error: its standard error.
        values: how few values the error was estimated from, which makes it Student's interval; None for many.
        confidence: two-sided coverage, between 0 and 1.
    """
    if values is None:
        reach = NormalDist().inv_cdf((1 + confidence) / 2) * error
    else:
        from scipy.special import stdtrit

        reach = float(stdtrit(values - 1, (1 + confidence) / 2)) * error
    return mean - reach, mean + reach


def central_interval(draws: ArrayLike, confidence: float = 0.95) -> Interval:
    """The interval that leaves out as many of ``draws`` below as above; draws that are NaN say nothing.

    Args:
        draws: of one value.
        confidence: share of the draws within.
    """
    tails = (50 * (1 - confidence), 50 * (1 + confidence))
    low, high = np.nanpercentile(np.asarray(draws, dtype=np.float64), tails).tolist()
    return low, high


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number by the step-down procedure of Holm (1979).

    The smallest is multiplied by their number, the next by one less, and so on; none becomes smaller than one before
    it, or larger than 1. Rejecting what is adjusted below a level keeps the chance of any false rejection below that
    level, whatever the comparisons have to do with each other.

    Args:
        p_values: of one family of comparisons, in any order.

    Returns:
        the adjusted ones, in the same order.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted
