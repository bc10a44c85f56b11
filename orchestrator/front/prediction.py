"""How well the cheap metrics of the rungs predicted what a trial measured in the end (pure)."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median

from orchestrator.front.schema.explanations import RungPrediction
from orchestrator.record.trials import Status, TrialRecord
from sweeps.goals.metrics import LAYER_METRICS
from sweeps.goals.objectives import Objective
from sweeps.statistics.correlation import rank_correlation

LEAST_TRIALS = 4
"""Fewer pairs than this have no interval, and their correlation says nothing."""
MEAN_OVER_LAYERS = "/mean"
"""Ends the name of the mean over the layers of a per-layer metric, which the report shows in their place."""


def prediction(objectives: Sequence[Objective], trials: Sequence[TrialRecord]) -> list[RungPrediction]:
    """Rank correlation of every rung metric with every objective over the finished trials of one model.

    A rung is the same share of every trial's own steps, so that trials of different lengths meet at their first, their
    second rung and so on. Trials that were pruned have no final measurement, so the range is narrowed to what survived:
    where pruning worked the correlation is rather too low than too high.

    Args:
        objectives: what the front trades off.
        trials: searched trials of one model; only FINISHED ones count.

    Returns:
        one for every rung, rung metric and objective; the interval is by Fisher's z with the variance 1.06 / (n - 3)
        of Fieller et al. (1957).
    """
    finished = [trial for trial in trials if trial.status is Status.FINISHED]
    rows = []
    for number in range(max((len(trial.rungs) for trial in finished), default=0)):
        reached = [trial for trial in finished if len(trial.rungs) > number]
        step = round(median(trial.rungs[number].step for trial in reached))
        at_rung = [with_means(trial.rungs[number].scores.metrics) for trial in reached]
        names = dict.fromkeys(name for metrics in at_rung for name in metrics)
        for name in names:
            for objective in objectives:
                pairs = [
                    (metrics.get(name, math.nan), trial.report.metrics.get(objective.metric, math.nan))
                    for metrics, trial in zip(at_rung, reached, strict=True)
                ]
                found = [pair for pair in pairs if all(map(math.isfinite, pair))]
                rho, low, high = _correlation(found)
                rows.append(
                    RungPrediction(
                        step=step,
                        metric=name,
                        objective=objective.metric,
                        spearman=rho,
                        low=low,
                        high=high,
                        n=len(found),
                    )
                )
    return rows


def with_means(metrics: Mapping[str, float]) -> dict[str, float]:
    """``metrics`` and, for each per-layer metric, its mean over the layers."""
    found = dict(metrics)
    for base in LAYER_METRICS:
        layers = [value for name, value in metrics.items() if name.startswith(f"{base}/layer_")]
        if layers:
            found[base + MEAN_OVER_LAYERS] = fmean(layers)
    return found


def _correlation(pairs: Sequence[tuple[float, float]]) -> tuple[float | None, float | None, float | None]:
    """The rank correlation and the ends of its 95 % interval; None where it says nothing."""
    n = len(pairs)
    rho = rank_correlation(*zip(*pairs, strict=True)) if n >= LEAST_TRIALS else None
    if rho is None:
        return None, None, None
    margin = 1.96 * math.sqrt(1.06 / (n - 3))
    # At +-1 Fisher's z is infinite: a perfect order counts as one in which two neighbours have changed places.
    most = 1 - 12 / (n * (n * n - 1))
    center = math.atanh(min(max(rho, -most), most))
    return rho, math.tanh(center - margin), math.tanh(center + margin)
