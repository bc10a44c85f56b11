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


def against_line(
    attack: ArrayLike,
    accuracy: ArrayLike,
    line_attack: ArrayLike,
    line_accuracy: ArrayLike,
    bases: Sequence[str],
    seed: int = 0,
    draws: int = DRAWS,
) -> Estimate:
    """How much attack success a method has beyond a line of models at the method's own accuracy, with its interval.

    Drawn as in :func:`estimate`, harmful and task prompts each on their own; every draw weighs a run and its line by
    the same prompts, so that they are paired, and interpolates anew.

    Args:
        attack: ``[runs, harmful prompts]`` outcomes of the method.
        accuracy: ``[runs, task prompts]`` likewise.
        line_attack: ``[runs, scales, harmful prompts]`` outcomes of the models on the line of each run, by ascending
            scale.
        line_accuracy: ``[runs, scales, task prompts]`` likewise.
        bases: of each run, its base model.
        seed: of the draws.
        draws: their number.
    """
    tables = [np.asarray(one, dtype=np.float64) for one in (attack, accuracy, line_attack, line_accuracy)]
    generator = np.random.default_rng(seed)
    weights = run_weights(bases, draws, generator)
    harmful, task = (
        generator.multinomial(count, np.full(count, 1 / count), draws).T / count
        for count in (tables[0].shape[-1], tables[1].shape[-1])
    )
    drawn = beyond_line(tables[0] @ harmful, tables[1] @ task, tables[2] @ harmful, tables[3] @ task)
    low, high = np.percentile((weights.T * drawn).sum(axis=0), TAILS).tolist()
    found = beyond_line(*(table.mean(axis=-1, keepdims=True) for table in tables))
    return Estimate(float(base_weights(bases) @ found[:, 0]), low, high)


def beyond_line(attack: Table, accuracy: Table, line_attack: Table, line_accuracy: Table) -> Table:
    """Attack success minus that of a line of models at the same accuracy, interpolated between neighbours.

    From the end of the line downwards the first pair of neighbours counts that has the accuracy between them. Where
    the whole line is less accurate, its most accurate model stands for it, where it is more accurate, its least
    accurate one.

    Args:
        attack: ``[runs, draws]``.
        accuracy: ``[runs, draws]``.
        line_attack: ``[runs, scales, draws]``, by ascending scale.
        line_accuracy: ``[runs, scales, draws]``.

    Returns:
        ``[runs, draws]``.
    """
    nearest = np.abs(line_accuracy - accuracy[:, None]).argmin(axis=1)[:, None]
    there = np.take_along_axis(line_attack, nearest, axis=1)[:, 0]
    for place in range(line_accuracy.shape[1] - 1):
        below, above = line_accuracy[:, place], line_accuracy[:, place + 1]
        width = above - below
        share = np.divide(accuracy - below, width, out=np.full_like(width, -1.0), where=width != 0)
        between = (share >= 0) & (share <= 1)
        value = line_attack[:, place] + share * (line_attack[:, place + 1] - line_attack[:, place])
        there = np.where(between, value, there)
    return attack - there


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
