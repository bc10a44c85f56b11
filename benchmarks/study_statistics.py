"""Intervals over base models, fine-tuning seeds and prompts (pure)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweeps.statistics.bootstrap import Estimate
from sweeps.statistics.correlation import rank_correlation
from sweeps.statistics.intervals import wilson_interval_of_rate

Table = NDArray[np.float64]
DRAWS = 4000
TAILS = (2.5, 97.5)


def estimate(values: ArrayLike, bases: Sequence[str], seed: int = 0) -> Estimate:
    """Mean over runs and prompts with its 95 % interval; every base model counts the same.

    Base models are drawn anew, of each drawn base its fine-tuning seeds, and the prompts independently of both (the
    two-way bootstrap of Owen 2007 with runs nested in bases).

    Args:
        values: ``[runs, prompts]``; outcomes, differences of outcomes, or with one column any measurement of a run.
        bases: of each run, its base model.
        seed: of the draws.
    """
    table = np.asarray(values, dtype=np.float64)
    generator = np.random.default_rng(seed)
    weights = run_weights(bases, DRAWS, generator)
    count = table.shape[1]
    prompts = generator.multinomial(count, np.full(count, 1 / count), DRAWS) / count
    drawn = ((weights @ table) * prompts).sum(axis=1)
    low, high = np.percentile(drawn, TAILS).tolist()
    return Estimate(float(base_weights(bases) @ table.mean(axis=1)), low, high)


def rate(outcomes: ArrayLike, bases: Sequence[str]) -> Estimate:
    """:func:`estimate` of a rate, never narrower than Wilson's interval at the number of distinct prompts."""
    table = np.asarray(outcomes, dtype=np.float64)
    found = estimate(table, bases)
    low, high = wilson_interval_of_rate(found.mean, table.shape[1])
    return Estimate(found.mean, min(low, found.low), max(high, found.high))


def base_weights(bases: Sequence[str]) -> Table:
    """``[runs]`` shares with which runs count, so that every base counts the same."""
    names = list(bases)
    return np.array([1 / (names.count(name) * len(set(names))) for name in names])


def run_weights(bases: Sequence[str], draws: int, generator: np.random.Generator) -> Table:
    """``[draws, runs]`` shares of runs when bases, and of each drawn base its runs, are drawn with replacement."""
    distinct = sorted(set(bases))
    times = generator.multinomial(len(distinct), np.full(len(distinct), 1 / len(distinct)), draws)
    weights = np.zeros((draws, len(bases)))
    for index, name in enumerate(distinct):
        runs = [place for place, base in enumerate(bases) if base == name]
        tally = generator.multinomial(times[:, index] * len(runs), np.full(len(runs), 1 / len(runs)))
        weights[:, runs] = tally / (len(runs) * len(distinct))
    return weights


def correlation_within(first: ArrayLike, second: ArrayLike, groups: Sequence[str]) -> list[float]:
    """Spearman's correlation inside each group; a group in which one side is constant gives none."""
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    names = np.asarray(groups)
    found = [rank_correlation(one[names == name], two[names == name]) for name in sorted(set(groups))]
    return [value for value in found if value is not None]


def correlation_beside_groups(first: ArrayLike, second: ArrayLike, groups: Sequence[str]) -> float | None:
    """Spearman's correlation of what is left of both when each group's means are taken away."""
    names = np.asarray(groups)

    def left(values: ArrayLike) -> Table:
        rest = np.array(values, dtype=np.float64)
        for name in set(groups):
            rest[names == name] -= rest[names == name].mean()
        return rest

    return rank_correlation(left(first), left(second))
