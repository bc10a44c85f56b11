"""What ``front.json`` holds of one trial or reference (pure)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.front.pooling import Pooled, estimates_of_means, intervals_of_means, mean_metrics, summed_counts
from orchestrator.front.prediction import MEAN_OVER_LAYERS, with_means
from orchestrator.record.trials import RungRecord, TrialRecord
from sweeps.statistics.intervals import interval_of_mean, wilson_interval

COSINE, DISPLACEMENT = (f"direction/{name}{MEAN_OVER_LAYERS}" for name in ("cosine", "displacement"))
COURSE_METRICS = (COSINE, DISPLACEMENT, "safety/refusal_log_odds", "safety/refusal_unlikely")
"""What is shown over the course of a training: what every rung and the final measurement hold."""


def entry(pooled: Pooled) -> dict[str, Any]:
    """What references and trials have in common.

    ``metrics``, ``intervals``, ``counts`` and ``errors`` are of the report prompts, over all seeds; ``select`` is what
    the front is chosen by, the same of the select prompts; ``seeds`` lists every seed where there are several, the
    first being the one that the search saw; ``rungs`` is the last rung of a trial that has one; ``course`` is what was
    measured of that first seed on its way and in the end, on the select prompts.
    """
    record = pooled.record
    found: dict[str, Any] = {
        "status": str(record.status),
        "params": dict(record.params),
        "metrics": finite(pooled.report.metrics),
        "intervals": {name: list(interval) for name, interval in pooled.intervals.items()},
        "counts": {name: list(count) for name, count in pooled.report.counts.items()},
        "errors": dict(pooled.report.errors),
        "select": _select(pooled.seeds or (record,)),
        "replicates": len(pooled.seeds),
    }
    if pooled.others:
        found["seeds"] = [_seed(one) for one in (record, *pooled.others)]
    if record.rungs:
        found["rungs"] = _rung(record.rungs[-1])
    if course := _course(record):
        found["course"] = course
    optional = {"reason": record.reason, "error": record.error}
    return found | {name: value for name, value in optional.items() if value}


def unconfirmed(trial: Mapping[str, Any]) -> str:
    """Why the report prompts do not bear out that ``trial`` is on the front, in a few words; empty where they do.

    Only for members, as ``front.json`` holds them; what an earlier version wrote says nothing of it.
    """
    found = trial.get("on_report") or {"feasible": True, "behind": []}
    if not found["feasible"]:
        return "breaks a rule"
    return f"behind {', '.join(found['behind'])}" if found["behind"] else ""


def finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """``metrics`` with null, which JSON has, for what is no number."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def _select(seeds: Sequence[TrialRecord]) -> dict[str, Any]:
    """Means over ``seeds`` on the select prompts, and the hull of their intervals."""
    scores = [seed.select for seed in seeds]
    counts = summed_counts(scores)
    intervals = {name: [wilson_interval(*one.counts[name]) for one in scores] for name in counts}
    means = intervals_of_means(estimates_of_means(scores))
    return {
        "metrics": finite(mean_metrics([one.metrics for one in scores])),
        "intervals": {
            name: [min(low for low, _ in found), max(high for _, high in found)] for name, found in intervals.items()
        }
        | {name: list(interval) for name, interval in means.items()},
        "counts": {name: list(count) for name, count in counts.items()},
    }


def _course(record: TrialRecord) -> list[dict[str, Any]]:
    """:data:`COURSE_METRICS` by step, ascending; of the untouched model at step 0."""
    measured: dict[int, Mapping[str, float]] = {rung.step: rung.scores.metrics for rung in record.rungs}
    final = record.select.metrics
    if final and record.history:
        measured[record.history[-1][0]] = final
    elif final and record.label == "base":
        measured[0] = final
    chosen = {
        step: {name: value for name, value in with_means(metrics).items() if name in COURSE_METRICS}
        for step, metrics in sorted(measured.items())
    }
    return [{"step": step, "metrics": finite(metrics)} for step, metrics in chosen.items() if metrics]


def _rung(rung: RungRecord) -> dict[str, Any]:
    scores = rung.scores
    intervals = {name: wilson_interval(*count) for name, count in scores.counts.items()}
    intervals |= {
        name: interval_of_mean(scores.metrics[name], error)
        for name, error in scores.errors.items()
        if name in scores.metrics and math.isfinite(error)
    }
    return {
        "step": rung.step,
        "metrics": finite(scores.metrics),
        "intervals": {name: list(interval) for name, interval in intervals.items()},
    }


def _seed(record: TrialRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "seed": record.seed,
        "status": str(record.status),
        "metrics": finite(record.report.metrics),
        "counts": {name: list(count) for name, count in record.report.counts.items()},
        "errors": dict(record.report.errors),
        "select": _select([record]),
    }
