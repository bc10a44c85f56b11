"""How much more one set of trials dominates than another, given few prompts: a bootstrap of two hypervolumes."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from sweeps.statistics.bootstrap import DRAWS, Estimate
from sweeps.statistics.pareto import Goal, hypervolume

Array = NDArray[np.float64]
Measurement = Array | tuple[float, float]
"""One objective of one trial: outcomes ``[seeds, prompts]`` of 0 and 1, or a value and its standard error."""


def volume_difference(
    first: Sequence[Sequence[Measurement]],
    second: Sequence[Sequence[Measurement]],
    goals: Sequence[Goal],
    reference: Sequence[float],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Estimate:
    """The hypervolume of the trials ``first`` minus that of ``second``, with its 95 % interval.

    The trials must have been chosen without these measurements, as a front is that was chosen on other prompts: of the
    best of what is shown, the interval would say too much. Prompts are drawn together for all trials, which answered
    the same ones, and the seeds of each trial by themselves; a value with an error is drawn from a normal distribution.
    The interval is the hull of the percentile interval and of the normal one with the draws' deviation
    (``tests/sweeps/statistics/test_volumes.py`` simulates what it covers).

    Args:
        first: ``[trials][objectives]``.
        second: the same of the other set; an empty set dominates nothing.
        goals: one per objective.
        reference: from where the volume is measured, one per objective.
        draws: bootstrap samples.
        seed: of the draws.

    Raises:
        ValueError: trials differ in the number of prompts of an objective, or the shapes do not match.
    """
    generator = np.random.default_rng(seed)
    sets = (first, second)
    values = [_values(trials, len(goals)) for trials in sets]
    everyone = [trial for trials in sets for trial in trials]
    prompts = [_prompt_weights(generator, [trial[o] for trial in everyone], draws) for o in range(len(goals))]
    drawn = [_drawn(generator, trials, prompts, draws) for trials in sets]

    def difference(ours: Array, theirs: Array) -> float:
        return hypervolume(ours, goals, reference) - hypervolume(theirs, goals, reference)

    mean = difference(*values)
    found = np.array([difference(ours, theirs) for ours, theirs in zip(*drawn, strict=True)])
    low, high = np.percentile(found, (2.5, 97.5)).tolist()
    reach = NormalDist().inv_cdf(0.975) * float(found.std())
    return Estimate(mean, min(low, mean - reach), max(high, mean + reach))


def _values(trials: Sequence[Sequence[Measurement]], objectives: int) -> Array:
    """``[trials, objectives]`` as measured."""
    rows = [[float(one.mean()) if isinstance(one, np.ndarray) else one[0] for one in trial] for trial in trials]
    return np.array(rows, dtype=np.float64).reshape(len(trials), objectives)


def _prompt_weights(generator: np.random.Generator, measured: Sequence[Measurement], draws: int) -> Array | None:
    """``[draws, prompts]`` shares with which the prompts of an objective were drawn; None without outcomes."""
    counts = {one.shape[1] for one in measured if isinstance(one, np.ndarray)}
    if len(counts) > 1:
        raise ValueError(f"trials answered {sorted(counts)} prompts of one objective: pass those that all of them did")
    if not counts:
        return None
    count = counts.pop()
    weights: Array = generator.multinomial(count, np.full(count, 1 / count), draws) / count
    return weights


def _drawn(
    generator: np.random.Generator,
    trials: Sequence[Sequence[Measurement]],
    prompts: Sequence[Array | None],
    draws: int,
) -> Array:
    """``[draws, trials, objectives]``."""
    found = np.empty((draws, len(trials), len(prompts)))
    for row, trial in enumerate(trials):
        for column, (one, weights) in enumerate(zip(trial, prompts, strict=True)):
            if isinstance(one, np.ndarray):
                assert weights is not None, "an objective with outcomes has weights of its prompts"
                seeds = generator.multinomial(len(one), np.full(len(one), 1 / len(one)), draws) / len(one)
                found[:, row, column] = ((seeds @ one) * weights).sum(axis=1)
            else:
                found[:, row, column] = generator.normal(one[0], one[1], draws)
    return found
