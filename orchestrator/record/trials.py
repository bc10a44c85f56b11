"""What is known of one trial: the record that journal, front, report and MLflow share."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from sweeps.schema.arms import CONSTRAINT, Arm
from training.evaluation.scores import Scores

Json = Any  # a value that JSON can hold


class Status(StrEnum):
    """Where a trial stands; all but RUNNING are final."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    PRUNED = "PRUNED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"


def is_kept(status: str, unprepared: bool) -> bool:
    """Whether an end stands: a trial that was STOPPED, or that its model kept from beginning, is run again."""
    return status in (Status.FINISHED, Status.PRUNED, Status.FAILED) and not unprepared


@dataclass(frozen=True)
class RungRecord:
    """What a trial scored at a rung, without generation."""

    step: int
    """Optimizer steps done."""
    scores: Scores
    """On the select prompts."""


@dataclass(frozen=True)
class TrialRecord:
    """One searched trial, or one reference (base, ift, ift_safety) of a model."""

    id: str
    model: str
    kind: Literal["trial", "reference", "replicate"]
    """Searched, measured for comparison, or a searched trial's settings under another training seed."""
    label: str
    """``base`` | ``ift`` | ``ift_safety`` for references, else the id."""
    status: Status
    params: dict[str, Json] = field(default_factory=dict)
    """Searched values by dotted path of the trial's configuration."""
    report: Scores = field(default_factory=Scores)
    """The final measurement on the report prompts; old journals hold no errors."""
    select: Scores = field(default_factory=Scores)
    """The same on the select prompts, the only ones that the search sees; of journals without a split, the report."""
    rungs: tuple[RungRecord, ...] = ()
    """What was measured on the way, in order of steps."""
    history: tuple[tuple[int, dict[str, float]], ...] = ()
    """(optimizer step, training metrics), in order."""
    error: str | None = None
    unprepared: bool = False
    """Whether it FAILED because its model could not be prepared: a resume runs it again."""
    reason: str | None = None
    """Why a PRUNED trial was, or a STOPPED one that nobody stopped."""
    replicate_of: str | None = None
    """The trial whose settings a replicate repeats."""
    arm: Arm = CONSTRAINT
    """The arm of the search that it belongs to; of references it says nothing."""
    seed: int | None = None
    """Training seed; None for the untouched base model."""
    trial: dict[str, Json] | None = None
    """The whole configuration the trial ran with; None for the untouched base model."""
    started: float = 0.0
    """Seconds since the epoch."""
    finished: float | None = None
    """Seconds since the epoch; None while it runs."""

    @property
    def kept(self) -> bool:
        """Whether a resume leaves it as it is."""
        return is_kept(self.status, self.unprepared)
