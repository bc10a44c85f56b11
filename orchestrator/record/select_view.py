"""What the search may see of trials: their values on the select prompts, never on those that are reported (pure)."""

import math
from collections.abc import Mapping, Sequence

from orchestrator.record.trials import Status, TrialRecord
from sweeps.goals.objectives import Objective


def seen_metrics(record: TrialRecord) -> Mapping[str, float]:
    """Metrics of the select prompts; all there are where the prompts were not split."""
    return record.select_metrics or record.metrics


def seen_counts(record: TrialRecord) -> Mapping[str, tuple[int, int]]:
    """(successes, total) behind the rates of :func:`seen_metrics`."""
    return record.select_counts if record.select_metrics else record.counts


def seen_errors(record: TrialRecord) -> Mapping[str, float]:
    """Standard errors of those of :func:`seen_metrics` that are means over samples, as far as they are known."""
    return record.select_errors if record.select_metrics else record.errors


def objective_values(objectives: Sequence[Objective], record: TrialRecord) -> list[float] | None:
    """The values the search sees, one per objective; none where the trial has not finished or lacks a finite one."""
    values = [seen_metrics(record).get(objective.metric, math.nan) for objective in objectives]
    complete = record.status is Status.FINISHED and all(math.isfinite(value) for value in values)
    return values if complete else None
