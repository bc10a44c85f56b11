"""Rates of two models that answered the same prompts, each under one or several training seeds."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweeps.statistics.bootstrap import DRAWS, Estimate, as_outcomes
from sweeps.statistics.intervals import Interval, central_interval, wilson_interval_of_rate

Array = NDArray[np.float64]
FEW = 10
"""Draws beyond 0 that are too few to count by."""


@dataclass(frozen=True)
class PairedDifference(Estimate):
    """One rate minus another on the same prompts, with its 95 % interval."""

    p_value: float
    """Two-sided, of no difference."""


def paired_difference(
    first: ArrayLike, second: ArrayLike, seed: int = 0, *, same_seeds: bool = False
) -> PairedDifference:
    """The rate of ``first`` minus that of ``second``, which answered the same prompts.

    The interval is the percentile interval of the bootstrap over prompts, drawn together for both, and over the seeds
    of each (drawn together too where they are the same seeds), widened where needed to Newcombe's for paired rates
    (1998, method 10), since a bootstrap of prompts on which both agree has no width. The p-value is McNemar's exact
    test with one seed each, else the bootstrap's.

    Args:
        first: ``[seeds, prompts]`` of 0 and 1.
        second: ``[other seeds, prompts]`` of 0 and 1, the prompts in the same order.
        seed: of the draws.
        same_seeds: whether row n of both was trained under the same seed, on the same order of samples.

    Raises:
        ValueError: a table is empty or of another shape, the prompts are not as many, or a value is neither 0 nor 1;
            or the seeds are said to be the same and are not as many.
    """
    one, two = as_outcomes(first, "first"), as_outcomes(second, "second")
    if same_seeds and len(one) != len(two):
        raise ValueError(f"first ({len(one)} seeds) and second ({len(two)}) must hold the same seeds")
    if one.shape[1] != two.shape[1]:
        raise ValueError(f"first ({one.shape[1]} prompts) and second ({two.shape[1]}) must hold the same prompts")
    generator = np.random.default_rng(seed)
    count = one.shape[1]
    prompts = generator.multinomial(count, np.full(count, 1 / count), DRAWS) / count
    weights = _seed_weights(generator, len(one))
    others = weights if same_seeds else _seed_weights(generator, len(two))
    draws = ((weights @ one) * prompts).sum(axis=1) - ((others @ two) * prompts).sum(axis=1)
    low, high = central_interval(draws)
    newcombe = _newcombe(one.mean(axis=0), two.mean(axis=0))
    mean, interval = float(one.mean() - two.mean()), (min(low, newcombe[0]), max(high, newcombe[1]))
    if len(one) == len(two) == 1:
        p_value = mcnemar_p_value(one[0], two[0])
    else:
        p_value = _bootstrap_p_value(mean, interval, min(int((draws <= 0).sum()), int((draws >= 0).sum())))
    return PairedDifference(mean, *interval, p_value)


def mcnemar_p_value(first: ArrayLike, second: ArrayLike) -> float:
    """Exact two-sided p-value that two models show an event equally often on the same prompts (McNemar 1947).

    Only prompts on which they differ count: under the hypothesis each goes either way with probability 1/2.

    Args:
        first: ``[prompts]`` of 0 and 1.
        second: ``[prompts]`` of 0 and 1, in the same order.

    Returns:
        the p-value; 1.0 where they never differ.

    Raises:
        ValueError: the shapes differ, or a value is neither 0 nor 1.
    """
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.ndim != 1 or one.shape != two.shape:
        raise ValueError(f"first {one.shape} and second {two.shape} must be lists over the same prompts")
    if not (np.isin(one, (0.0, 1.0)).all() and np.isin(two, (0.0, 1.0)).all()):
        raise ValueError("first and second must hold only 0 and 1: leave unknown verdicts out of both")
    from scipy.stats import binomtest  # half a second to import

    only_first, only_second = int((one > two).sum()), int((one < two).sum())
    differing = only_first + only_second
    return float(binomtest(only_first, differing).pvalue) if differing else 1.0


def _bootstrap_p_value(mean: float, interval: Interval, beyond: int) -> float:
    """Two-sided p-value from the number of draws on the other side of 0.

    Where hardly any are, their number says only that it is small: then the normal distribution as wide as the interval
    says how small, without which no p-value could be told from 0 once there are many comparisons.
    """
    counted = min(1.0, 2 * (1 + beyond) / (1 + DRAWS))
    if beyond >= FEW:
        return counted
    error = (interval[1] - interval[0]) / 2 / NormalDist().inv_cdf(0.975)
    return min(counted, math.erfc(abs(mean) / error / math.sqrt(2)))


def _seed_weights(generator: np.random.Generator, seeds: int) -> Array:
    """``[DRAWS, seeds]`` shares with which each seed was drawn."""
    weights: Array = generator.multinomial(seeds, np.full(seeds, 1 / seeds), DRAWS) / seeds
    return weights


def _newcombe(first: Array, second: Array) -> Interval:
    """Newcombe's interval for the difference of two rates on the same prompts, from ``[prompts]`` shares of each."""
    total = len(first)
    p1, p2 = float(first.mean()), float(second.mean())
    low1, high1 = wilson_interval_of_rate(p1, total)
    low2, high2 = wilson_interval_of_rate(p2, total)
    varied = first.std() > 0 and second.std() > 0
    phi = max(0.0, float(np.corrcoef(first, second)[0, 1])) if varied else 0.0

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))

    return p1 - p2 - reach(p1 - low1, high2 - p2), p1 - p2 + reach(high1 - p1, p2 - low2)
