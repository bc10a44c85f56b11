"""One trial as the events of a journal tell of it, up to the latest of them."""

from dataclasses import dataclass, field
from typing import Any

from orchestrator.record.events import Event
from orchestrator.record.score_fields import REPORT, SELECT, scores_in
from orchestrator.record.trials import RungRecord, Status, TrialRecord, at_scale, is_kept
from sweeps.schema.arms import CONSTRAINT


@dataclass
class TrialState:
    """What is known of one trial so far.

    A trial that was started again, after its driver was killed, is one trial: what its earlier start reported counts
    where the later start did not report the same step. An end that was final stays whatever follows.
    """

    started: Event
    """Its latest start, whose settings hold."""
    session: int
    """Of its latest start: how many drivers had begun by then."""
    warm: bool
    """Whether another trial of that session had ended before it started: the first ones also wait for their slot, the
    model and the direction."""
    since: float = 0.0
    """When it was first handed out, in seconds since the epoch."""
    starts: int = 1
    step: int = 0
    """Optimizer steps that it last reported."""
    report: Event | None = None
    """The last ``trial_reported`` or ``trial_rung`` since its latest start."""
    ended: Event | None = None
    history: dict[int, dict[str, float]] = field(default_factory=dict)
    rungs: dict[int, RungRecord] = field(default_factory=dict)
    scaled: dict[float, Event] = field(default_factory=dict)
    """``trial_scaled`` by scale, of its latest end."""
    paced_steps: int = 0
    """Optimizer steps since its latest start whose seconds are known: all but those before the first report, which
    also wait for references and the engine."""
    paced_seconds: float = 0.0
    """What they took."""
    forked: tuple[str, int] | None = None
    """The trial that did its first steps for it, and how many; None where it did them itself."""
    _reported: int | None = None  # step of the last ``trial_reported`` since the latest start

    def __post_init__(self) -> None:
        self.since = self.started["time"]

    @property
    def id(self) -> str:
        """Of the trial."""
        return str(self.started["id"])

    @property
    def model(self) -> str:
        """Name of the model it trains."""
        return str(self.started["model"])

    @property
    def status(self) -> Status:
        """Where it stands."""
        return Status(self.ended["status"]) if self.ended else Status.RUNNING

    @property
    def reused(self) -> bool:
        """Whether an earlier sweep measured it, so that it took this one no time."""
        return "reused" in self.started

    @property
    def kept(self) -> bool:
        """Whether a resume leaves it as it is."""
        return self.ended is not None and is_kept(self.ended["status"], self.ended.get("unprepared", False))

    @property
    def seconds(self) -> float:
        """From its latest start to its end."""
        assert self.ended is not None, "it has not ended"
        return float(self.ended["time"] - self.started["time"])

    @property
    def steps(self) -> int:
        """The step that its training last reported since its latest start."""
        return self._reported or 0

    @property
    def trained_steps(self) -> int:
        """Those of :attr:`step` that it trained itself."""
        return max(0, self.step - (self.forked[1] if self.forked else 0))

    def restart(self, event: Event, session: int, warm: bool) -> None:
        """Take in another start: it undoes an end that was not final."""
        self.started, self.session, self.warm = event, session, warm
        self.starts += 1
        self.report = self.ended = self._reported = None
        self.scaled = {}
        self.paced_steps, self.paced_seconds = 0, 0.0

    def take_report(self, event: Event) -> None:
        """Take in a ``trial_reported``."""
        step, metrics = event["step"], event["metrics"]
        if self.forked is not None and step <= self.forked[1] and "train/seconds" in metrics:
            self.forked = None  # a later start did them itself, since the checkpoint was lost
        before = self.forked[1] if self.forked else -1
        first = self._reported is None or self._reported <= before  # which waited for the engine
        if not first and step > (self._reported or 0) and "train/seconds" in metrics:
            self.paced_steps += step - self._reported
            self.paced_seconds += metrics["train/seconds"]
        self.step = self._reported = step
        self.report = event
        self.history[step] = metrics

    def take_rung(self, event: Event) -> None:
        """Take in a ``trial_rung``."""
        self.step = event["step"]
        self.report = event
        self.rungs[self.step] = RungRecord(self.step, scores_in(event))

    def take_fork(self, event: Event) -> None:
        """Take in a ``trial_forked``."""
        self.forked = event["of"], event["step"]
        self.step = max(self.step, event["step"])

    def take_scaled(self, event: Event) -> None:
        """Take in a ``trial_scaled``, which goes before the end."""
        self.scaled[float(event["scale"])] = event

    def records(self) -> list[TrialRecord]:
        """:meth:`record`, and those of its scaled models that were measured in full, by ascending scale."""
        own = self.record()
        if own.status is not Status.FINISHED:
            return [own]
        return [own, *(one for scale in sorted(self.scaled) if (one := self.scaled_record(own, scale)) is not None)]

    def scaled_record(self, trained: TrialRecord, scale: float) -> TrialRecord | None:
        """The record of its model at ``scale``; None where it was not measured in full."""
        event = self.scaled[scale]
        report, select = scores_in(event, REPORT), scores_in(event, SELECT)
        if not report.metrics:
            return None
        return at_scale(trained, scale, scores_in(event), report, select if select.metrics else report, event["step"])

    def record(self) -> TrialRecord:
        """What front, report and MLflow want to know of it."""
        started, trial = self.started, self.started.get("trial")
        return TrialRecord(
            id=started["id"],
            model=started["model"],
            kind=started["kind"],
            label=started["label"],
            status=self.status,
            params=started["params"],
            history=tuple(sorted(self.history.items())),
            rungs=tuple(rung for _, rung in sorted(self.rungs.items())),
            replicate_of=started.get("replicate_of"),
            arm=started.get("arm", CONSTRAINT),
            forked_from=self.forked[0] if self.forked else None,
            forked_at=self.forked[1] if self.forked else 0,
            seed=trial["seed"] if trial else None,
            trial=trial,
            started=self.since,
            **_what_ended(self.ended),
        )


def _what_ended(ended: Event | None) -> dict[str, Any]:
    """Fields of a record that only the end of its trial tells."""
    if ended is None:
        return {}
    report, select = scores_in(ended), scores_in(ended, SELECT)
    return {
        "report": report,
        "select": select if select.metrics else report,  # the prompts were not split
        "error": ended.get("error"),
        "unprepared": ended.get("unprepared", False),
        "reason": ended.get("reason"),
        "finished": ended["time"],
    }
