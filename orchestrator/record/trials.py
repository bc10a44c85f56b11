"""What is known of one trial: the record that journal, front, report and MLflow share."""

from dataclasses import dataclass, field, replace
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
    kind: Literal["trial", "reference", "replicate", "scaled"]
    """Searched, measured for comparison, a searched trial's settings under another training seed, or a searched trial's
    model scaled."""
    label: str
    """``base`` | ``ift`` | ``ift_safety`` for references, with ``@`` and the scale where they are scaled; else the
    id."""
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
    scaled_of: str | None = None
    """The trial, reference or replicate whose model this is, scaled: no training of its own, and no search."""
    scale: float = 1.0
    """Its place on the line from the untouched (0) to the trained model (1), see :mod:`training.loop.scaling`."""
    arm: Arm = CONSTRAINT
    """The arm of the search that it belongs to; of references it says nothing."""
    forked_from: str | None = None
    """The trial that did its first steps, up to where the two part; None where it did them itself."""
    forked_at: int = 0
    """How many these are."""
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

    @property
    def reached(self) -> int:
        """Optimizer steps after which it last reported anything."""
        return max([step for step, _ in self.history[-1:]] + [rung.step for rung in self.rungs[-1:]], default=0)

    @property
    def trained(self) -> str:
        """Id of the training that its weights are of: its own, but where they are scaled."""
        return self.scaled_of or self.id


def at_scale(
    trained: TrialRecord, scale: float, rung: Scores, report: Scores, select: Scores, step: int
) -> TrialRecord:
    """The model of ``trained`` scaled by ``scale``, as a record of its own.

    Args:
        trained: what was trained; it has finished.
        scale: not 1.
        rung: what forward passes said of it.
        report: the measurement on the report prompts.
        select: the same on the select prompts.
        step: optimizer steps of the training.
    """
    repeated = trained.replicate_of
    return replace(
        trained,
        id=scaled_id(trained.id, scale),
        kind="scaled" if trained.kind == "trial" else trained.kind,
        label=scaled_id(trained.label, scale),
        report=report,
        select=select,
        rungs=(RungRecord(step, rung),),
        history=(),
        replicate_of=scaled_id(repeated, scale) if repeated is not None else None,
        scaled_of=trained.id,
        scale=scale,
    )


def scaled_id(trial: str, scale: float) -> str:
    """What the model of ``trial`` is called at ``scale``."""
    return f"{trial}@{scale:g}"
