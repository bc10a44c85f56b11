"""What Tune's trials, the broker and the slots tell one another."""

from dataclasses import dataclass, field
from typing import Literal

from sweeps.statistics.pareto import Goal
from training.config import ModelConfig, TrialConfig
from training.evaluation.scores import Scores

CLOSE = "close"
"""Handed to a slot in place of a job when there is nothing more to do."""

SCALE = "scale"
"""Column of the answers of scaled models while they travel with those of their trial."""

LEAVE = "leave"
"""Handed to a slot whose workers have to start anew: a node of theirs will be taken away, or more have room."""


@dataclass(frozen=True)
class Axis:
    """An objective, and what forward passes foretell it by."""

    metric: str
    goal: Goal
    rung: str
    """Metric that needs no generation."""
    rising: bool
    """Whether the objective rises with it."""


@dataclass(frozen=True)
class ScalingJob:
    """Which models between the untouched and the trained one a job is to measure too."""

    scales: tuple[float, ...]
    """See :class:`training.workbench.scaled.Scaling`."""
    axes: tuple[Axis, ...] = ()
    """The objectives, where forward passes decide which scaled models are worth generating answers of; none measures
    all in full."""
    known: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()
    """Rung metrics and objectives, by axis, of models of the same base model that were measured in full."""
    rivals: tuple[tuple[float, ...], ...] = ()
    """Objectives of those that a scaled model has to hold its own against."""


@dataclass(frozen=True)
class ScaledScores:
    """What a scaled model scored."""

    scale: float
    rung: Scores
    """Without generation."""
    report: Scores = field(default_factory=Scores)
    """On the report prompts; empty where it was not worth the answers."""
    select: Scores = field(default_factory=Scores)
    """On the select prompts."""


@dataclass(frozen=True)
class Update:
    """What a slot says about a job; ``forked``: it began at, or has gone beyond, the step that its fork begins at."""

    kind: Literal["step", "rung", "forked", "measured", "failed", "stopped", "pruned"]
    step: int = 0
    scores: Scores = field(default_factory=Scores)
    """What a step or a rung measured."""
    report: Scores = field(default_factory=Scores)
    """What a measured trial scored on the report prompts."""
    select: Scores = field(default_factory=Scores)
    """What it scored on the select prompts, the only ones that the search may see."""
    scaled: tuple[ScaledScores, ...] = ()
    """What a measured trial's model scored at other scales; their answers are among the trial's, with a column
    :data:`SCALE`."""
    error: str | None = None
    """Why it failed."""
    reason: str | None = None
    """Why it was pruned, or stopped."""
    unprepared: bool = False
    """Whether it failed before its trial began, for a reason that stops every other trial of its model too."""

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self.kind not in ("step", "rung", "forked")


@dataclass(frozen=True)
class ForkJob:
    """Another job's checkpoint that a job may begin from, since both train alike up to there."""

    trial: str
    """Id of the other."""
    step: int
    """After which of its optimizer steps."""
    updates: tuple[Update, ...] = ()
    """What the other said of these steps, and the job would say too: a report or a rung each, without its seconds."""


@dataclass(frozen=True)
class Job:
    """One trial for a slot; it travels between processes."""

    id: str
    model: ModelConfig
    """What is trained."""
    trial: TrialConfig | None
    """How; None measures the untouched model."""
    rungs: tuple[int, ...] = ()
    """Optimizer steps after which it is measured without generation."""
    judged: bool = True
    """Whether it then waits for a verdict."""
    scaling: ScalingJob | None = None
    """What is measured besides; None where nothing is."""
    keeps: tuple[int, ...] = ()
    """Optimizer steps after which a checkpoint is kept for trials that part from it there."""
    fork: ForkJob | None = None
    """Where it begins; None begins at its first step."""


@dataclass(frozen=True)
class Assignment:
    """A job as one slot gets it."""

    job: Job
    attempt: int
    """How often the job has been handed out, this time included. All that a slot says of the job carries it, and its
    checkpoints do: what comes of an earlier attempt, from a slot that was held to be lost, is passed over."""
    at_most: int | None = None
    """Samples per forward pass and worker that memory suffices for; None where it never ran out with its model."""


@dataclass(frozen=True)
class News:
    """What the driver did not know yet."""

    notes: list[str] = field(default_factory=list)
    """What slots, and the broker about them, want people to know."""
    doing: dict[str, str] = field(default_factory=dict)
    """What slots began to do before a first report, by job."""
    lost: int = 0
    """Slots that are lost at the moment."""
    up: int = 0
    """Slots that have workers."""
