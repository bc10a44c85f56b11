"""The journal's events as MLflow runs, while the sweep goes on."""

import hashlib
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from orchestrator.front.schema.document import FrontDocument
from orchestrator.front.volume_course import VolumeCourse
from orchestrator.record.events import Event
from orchestrator.record.folder import CHECKPOINTS
from orchestrator.record.sweep_state import SweepState
from orchestrator.record.trials import Status, TrialRecord
from orchestrator.report.files import ReportFiles
from orchestrator.tracking.front_table import MAX_TEXT
from orchestrator.tracking.index import IDENTITY
from orchestrator.tracking.inputs import SweepData
from orchestrator.tracking.looks import flat
from orchestrator.tracking.runs import Report
from orchestrator.tracking.tracker import Tracker, parent_key
from orchestrator.tracking.views import Shown, parallel_charts
from sweeps.schema.spec import SweepSpec
from training.secrets import without_secrets

GIVEN_UP = "procon.given_up"
"""Tag of a parent run whose model could not be prepared: why."""
REPORTS = ("trial_reported", "trial_rung")
"""Events by which a trial tells of a step."""
FLUSH_SECONDS = 60.0
"""How long the end of a sweep waits for an MLflow that is slow or away."""


class Mirrored(Protocol):
    """What a mirror must know of a sweep: an opened session, or a folder that is read again."""

    @property
    def directory(self) -> Path:
        """Its folder."""

    @property
    def spec(self) -> SweepSpec:
        """The specification."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What it ran with."""

    @property
    def state(self) -> SweepState:
        """All that is known of it, the runs that stand for it in the store among them."""

    @property
    def tracking_uri(self) -> str:
        """Of the store."""

    @property
    def artifacts(self) -> str | None:
        """Where a new experiment keeps artifacts; None leaves it to the store."""

    @property
    def depths(self) -> Mapping[str, int]:
        """Decoder layers by model."""

    @property
    def since(self) -> float:
        """When the first driver began, in seconds since the epoch."""

    @property
    def quiet(self) -> bool:
        """Whether nothing happens any more, so that what has ended stays so."""

    def remember(self, key: str, run_id: str) -> None:
        """Keep which run stands for what, so that whoever goes on continues it."""


class Mirror:
    """Turns every journal event into what :class:`~orchestrator.tracking.tracker.Tracker` is told.

    Args:
        session: a sweep that remembers run ids, so that whoever goes on with it continues the same runs.
        front: where it is known already.
    """

    def __init__(self, session: Mirrored, front: FrontDocument | None = None) -> None:
        spec, manifest = session.spec, session.manifest
        self._sweep = f"{spec.name}-{datetime.fromtimestamp(session.since, UTC):%Y%m%dT%H%M%S.%f}"
        self._models = [model.name for model in spec.models]
        self._session = session
        self._state = SweepState()
        """As it was at the last event that was taken in: those of earlier drivers are told as they came."""
        self._courses = {name: VolumeCourse(spec.objectives, spec.feasible) for name in self._models}
        self._ended: float | None = None  # when an earlier driver came to the end, where nothing has happened since

        uri, artifacts = session.tracking_uri, session.artifacts
        self._tracker = Tracker(uri, spec.name, artifacts, remember=session.remember, known=dict(session.state.runs))
        params = flat(spec.trial.model_dump(mode="json"))
        tags = {f"version.{name}": version for name, version in manifest["versions"].items() if version}
        tags |= {"git.commit": manifest["git"]} if manifest["git"] else {}
        tags |= {"procon.sweep": self._sweep, "procon.directory": str(session.directory)}
        tags |= {"procon.command": shlex.join(command)[:MAX_TEXT]} if (command := manifest.get("command")) else {}
        self._tracker.sweep(SweepData(spec, manifest), session.directory / CHECKPOINTS)
        if front is not None:
            self._tracker.front(front)
        for model in spec.models:
            described = {"model.path": model.path, **params}
            own = {**tags, IDENTITY: _identity(self._sweep, model.name)}
            self._tracker.parent(model.name, described, own, since=session.since, ended=session.quiet)
        depth = max(session.depths.values())
        self._tracker.views(Shown(spec.objectives, list(spec.ranges), depth, parallel_charts(spec)))

    @property
    def experiment_id(self) -> str | None:
        """The MLflow experiment's id; None before the store was first reached."""
        return self._tracker.experiment_id

    @property
    def waiting(self) -> int:
        """Events that MLflow has not been given yet."""
        return self._tracker.waiting

    def trouble(self) -> str | None:
        """Why events wait, while MLflow does not take them; None while all is well."""
        reason = self._tracker.trouble
        return reason and f"MLflow does not take events ({reason}); {self.waiting} wait, and the sweep goes on"

    @property
    def parent_runs(self) -> dict[str, str]:
        """MLflow run that holds the front, by model; what MLflow was not reached for is absent."""
        runs = self._session.state.runs
        return {model: runs[parent_key(model)] for model in self._models if parent_key(model) in runs}

    def replay(self, events: Sequence[Event]) -> None:
        """Take in what earlier drivers recorded, each trial at once with all that it reported; returns at once."""
        told: dict[str, list[Report]] = {}
        given_up: set[str] = set()
        for event in events:
            self._take(event)
            given_up |= self._state.given_up.keys()
            if event["event"] in REPORTS:
                report = Report(event["step"], event["metrics"], event["time"])
                told.setdefault(event["id"], []).append(report)
            elif event["event"] == "trial_ended":
                self._grown(self._state.records_of(event["id"]), event["time"])
        for record in self._state.records():
            reports = told.get(record.id, [])
            if record.status is not Status.RUNNING:
                self._tracker.trial_finished(record, reports)
                continue
            self._tracker.trial_started(record)
            for report in reports:
                self._tracker.trial_reported(record.id, *report)
        for model in given_up:
            self._tracker.parent(model, tags={GIVEN_UP: self._state.given_up.get(model, "")})

    def on_event(self, event: Event) -> None:
        """Take in one event of the journal; returns at once."""
        kind, earlier = event["event"], self._state.given_up
        self._take(event)
        if kind == "trial_started":
            self._tracker.trial_started(self._state.record(event["id"]))
        elif kind in REPORTS:
            self._tracker.trial_reported(event["id"], event["step"], event["metrics"], event["time"])
        elif kind == "trial_ended":
            records = self._state.records_of(event["id"])
            for record in records:
                self._tracker.trial_finished(record)
            self._grown(records, event["time"])
        elif kind == "model_given_up":
            self._tracker.parent(event["model"], tags={GIVEN_UP: event["error"]})
        elif kind == "sweep_resumed":
            for model in earlier:
                self._tracker.parent(model, tags={GIVEN_UP: ""})

    def _take(self, event: Event) -> None:
        kind = event["event"]
        self._state.take(event)
        if kind.startswith(("sweep_", "trial_")):
            self._ended = event["time"] if kind == "sweep_ended" and not event["interrupted"] else None

    def _grown(self, records: Sequence[TrialRecord], at: float) -> None:
        """The front of the model of a trial that has ended, and of its scaled models, as far as it has grown."""
        model = records[0].model
        point = self._courses[model].take(*records) if model in self._courses else None
        if point is not None:
            self._tracker.volume(model, point, at)

    def finish(
        self,
        front: FrontDocument,
        files: ReportFiles,
        found: Sequence[TrialRecord],
        stopped: bool,
        seconds: float = FLUSH_SECONDS,
    ) -> int:
        """Put the report on the parent runs and end them; how many events could not be delivered.

        Args:
            front: of ``build_front``.
            files: of ``write_report``.
            found: everything that is known of all trials.
            stopped: whether the sweep ended before all was done.
            seconds: how long MLflow may take.
        """
        for model in self._models:
            status = Status.STOPPED if stopped else ending([one for one in found if one.model == model])
            ended = Status.FAILED if model in self._state.given_up else status
            self._tracker.finish_parent(model, ended, files, front, self._ended)
        compared = front.comparison.normalised if front.comparison is not None else None
        if compared is not None and files.compared:
            self._tracker.comparison(compared, files.compared, _identity(self._sweep, "comparison"))
        return self._tracker.close(seconds)

    def abandon(self, status: Status, reason: str, seconds: float = FLUSH_SECONDS) -> None:
        """End the parent runs of a sweep that came to no report, and the runs of trials that were under way.

        Args:
            status: FAILED or STOPPED.
            reason: why it came to none.
            seconds: how long MLflow may take.
        """
        for record in self._state.records():
            if record.status is Status.RUNNING:
                self._tracker.trial_finished(replace(record, status=Status.STOPPED, finished=time.time()))
        for model in self._models:
            self._tracker.end_parent(model, status, without_secrets(reason))
        self._tracker.close(seconds)


def _identity(sweep: str, part: str) -> str:
    """What tells one run of a sweep from all others, whatever is in their names."""
    return hashlib.sha256(f"{sweep}\n{part}".encode("utf-8", "replace")).hexdigest()[:16]


def ending(found: Sequence[TrialRecord]) -> Status:
    """How one model's part of a sweep ended that nobody stopped: FAILED where no searched trial came to a result."""
    finished = any(record.status is Status.FINISHED for record in found if record.kind == "trial")
    return Status.FINISHED if finished else Status.FAILED
