"""What a search is told of a trial (pure)."""

import math
from collections.abc import Sequence

from orchestrator.record.trials import Status, TrialRecord
from sweeps.goals.objectives import Objective


def objective_values(objectives: Sequence[Objective], record: TrialRecord) -> list[float] | None:
    """The values the search sees, one per objective; None where the trial has not finished or lacks a finite one."""
    values = [record.select.metrics.get(objective.metric, math.nan) for objective in objectives]
    complete = record.status is Status.FINISHED and all(math.isfinite(value) for value in values)
    return values if complete else None
