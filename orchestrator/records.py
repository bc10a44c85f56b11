"""What is known of one trial: the record that journal, front, report and MLflow share."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

Json = Any  # a value that JSON can hold


class Status(StrEnum):
    """Where a trial stands; all but RUNNING are final."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    PRUNED = "PRUNED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"


@dataclass(frozen=True)
class TrialRecord:
    """One searched trial, or one reference (base, ift, ift_safety) of a model."""

    id: str
    model: str
    kind: Literal["trial", "reference"]
    label: str
    """``base`` | ``ift`` | ``ift_safety`` for references, else the id."""
    status: Status
    params: dict[str, Json] = field(default_factory=dict)
    """Searched values by dotted path of the trial's configuration."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The final measurement."""
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    """(successes, total) behind every metric that is a rate."""
    history: tuple[tuple[int, dict[str, float]], ...] = ()
    """(optimizer step, training metrics), in order."""
    error: str | None = None
    started: float = 0.0
    """Seconds since the epoch."""
    finished: float | None = None
    """Seconds since the epoch; none while it runs."""
