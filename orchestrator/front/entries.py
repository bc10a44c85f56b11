"""From a pooled trial or reference to its entry in ``front.json`` (pure)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.front.pooling import Pooled, estimates_of_means, intervals_of_means, mean_metrics, summed_counts
from orchestrator.front.prediction import MEAN_OVER_LAYERS, with_means
from orchestrator.front.schema.entry import (
    CoursePoint,
    Entry,
    LastRung,
    OnReport,
    PairedComparison,
    SeedEntry,
    SelectHalf,
    TrialEntry,
)
from orchestrator.record.trials import RungRecord, TrialRecord
from sweeps.schema.arms import PLAIN
from sweeps.statistics.intervals import interval_of_mean, wilson_interval
from sweeps.statistics.membership import Membership

COSINE, DISPLACEMENT = (f"direction/{name}{MEAN_OVER_LAYERS}" for name in ("cosine", "displacement"))
SCALE = "scale"
"""What the scale of a scaled model is called among its settings."""
COURSE_METRICS = (COSINE, DISPLACEMENT, "safety/refusal_log_odds", "safety/refusal_unlikely")
"""What is shown over the course of a training: what every rung and the final measurement hold."""


def entry(pooled: Pooled) -> Entry:
    """What ``front.json`` holds of a reference."""
    return Entry(**_entry(pooled))


def trial_entry(
    pooled: Pooled,
    *,
    on_front: bool,
    p_on_front: float | None,
    feasible: bool | None,
    on_report: OnReport | None,
    versus: Mapping[str, Mapping[str, PairedComparison]] | None,
    membership: Membership | None,
) -> TrialEntry:
    """What ``front.json`` holds of a searched trial: the fields are those of :class:`TrialEntry`."""
    return TrialEntry(
        id=pooled.record.id,
        arm=PLAIN if pooled.record.arm == PLAIN else None,
        scaled_of=pooled.record.scaled_of,
        forked_from=pooled.record.forked_from if pooled.record.scaled_of is None else None,
        forked_at=(pooled.record.forked_at or None) if pooled.record.scaled_of is None else None,
        on_front=on_front,
        p_on_front=p_on_front,
        feasible=feasible,
        on_report=on_report,
        versus=versus,
        membership=membership,
        **_entry(pooled),
    )


def _entry(pooled: Pooled) -> dict[str, Any]:
    """The fields that references and trials have in common."""
    record = pooled.record
    return {
        "status": record.status,
        "params": record.params if record.scaled_of is None else {**record.params, SCALE: record.scale},
        "metrics": finite(pooled.report.metrics),
        "intervals": pooled.intervals,
        "counts": pooled.report.counts,
        "errors": pooled.report.errors,
        "select": _select(pooled.seeds or (record,)),
        "replicates": len(pooled.seeds),
        "seeds": tuple(_seed(one) for one in (record, *pooled.others)) if pooled.others else None,
        "rungs": _last_rung(record.rungs[-1]) if record.rungs else None,
        "course": _course(record) or None,
        "reason": record.reason or None,
        "error": record.error or None,
    }


def finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """``metrics`` with null, which JSON has, for what is no number."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def _select(seeds: Sequence[TrialRecord]) -> SelectHalf:
    """Means over ``seeds`` on the select prompts, and the hull of their intervals."""
    scores = [seed.select for seed in seeds]
    counts = summed_counts(scores)
    intervals = {name: [wilson_interval(*one.counts[name]) for one in scores] for name in counts}
    hulls = {name: (min(low for low, _ in found), max(high for _, high in found)) for name, found in intervals.items()}
    return SelectHalf(
        metrics=finite(mean_metrics([one.metrics for one in scores])),
        intervals=hulls | intervals_of_means(estimates_of_means(scores)),
        counts=counts,
    )


def _course(record: TrialRecord) -> tuple[CoursePoint, ...]:
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
    return tuple(CoursePoint(step=step, metrics=finite(metrics)) for step, metrics in chosen.items() if metrics)


def _last_rung(rung: RungRecord) -> LastRung:
    scores = rung.scores
    intervals = {name: wilson_interval(*count) for name, count in scores.counts.items()}
    intervals |= {
        name: interval_of_mean(scores.metrics[name], error)
        for name, error in scores.errors.items()
        if name in scores.metrics and math.isfinite(error)
    }
    return LastRung(step=rung.step, metrics=finite(scores.metrics), intervals=intervals)


def _seed(record: TrialRecord) -> SeedEntry:
    return SeedEntry(
        id=record.id,
        seed=record.seed,
        status=record.status,
        metrics=finite(record.report.metrics),
        counts=record.report.counts,
        errors=record.report.errors,
        select=_select([record]),
    )
