"""What stands in MLflow: one experiment, a parent run per model, a child run per trial; every write may be repeated."""

import json
import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.front.schema.document import FrontDocument
from orchestrator.front.schema.entry import TrialEntry
from orchestrator.record.trials import Status, TrialRecord
from orchestrator.tracking.front_table import MAX_TEXT, front_note, front_rows, stable_text
from orchestrator.tracking.index import STATUS, RunIndex, milliseconds
from orchestrator.tracking.looks import COLOR, flat, picture_of, run_color, run_name
from orchestrator.tracking.views import Shown, are_known, view_tags

logger = logging.getLogger(__name__)

RUN_STATUS = {
    Status.RUNNING: "RUNNING",
    Status.FINISHED: "FINISHED",
    Status.FAILED: "FAILED",
    Status.PRUNED: "KILLED",
    Status.STOPPED: "KILLED",
}
PARETO = "pareto"
"""The tag that says whether a trial is on the front."""
ON_FRONT = "front/on_front"
"""The same as a number, which charts and filters of metrics take."""
TABLE = "front_table.json"
LOGGED_TABLES = "mlflow.loggedArtifacts"
MAX_METRICS, MAX_PARAMS = 1000, 100
"""MLflow's limits on one batch."""


class Report(NamedTuple):
    """What a trial said of one optimizer step."""

    step: int
    metrics: Mapping[str, float]
    at: float
    """When it was measured, in seconds since the epoch."""


def parent_key(model: str) -> str:
    """The key under which the run id of a model's parent run is remembered; no trial id contains a slash."""
    return f"parent/{model}"


class RunStore:
    """Writes to one MLflow experiment with explicit run ids; not thread-safe, one thread owns it.

    Every method may be called again with the same arguments, after a failure or by a resumed sweep: runs are found
    again by their remembered ids, and points that the store already holds are not written twice.

    Args:
        index: the experiment's runs.
    """

    def __init__(self, index: RunIndex) -> None:
        self._index = index
        self._described: dict[str, Mapping[str, Any]] = {}  # run -> parameters
        self._points: dict[str, dict[str, set[int]]] = {}  # run -> metric -> steps
        self._places: dict[str, tuple[bool, float]] = {}  # trial -> whether it is on the front, and how surely
        self._models: list[str] = []

    def views(self, shown: Shown) -> None:
        """Give the experiment its named views."""
        from mlflow import __version__

        if are_known(__version__):
            self._index.tag_experiment(view_tags(shown, time.time()))

    def parent(
        self,
        model: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        since: float | None = None,
        *,
        ended: bool = False,
    ) -> None:
        """Open the parent run of ``model``; one that has ended stays so where ``ended``."""
        if model not in self._models:
            self._models.append(model)
        run = self._index.find_or_create(
            parent_key(model),
            name=f"{self._index.experiment}: {model}",
            tags={"procon.kind": "parent", "procon.model": model, STATUS: "RUNNING", **tags},
            started=since,
        )
        if not ended:
            self._reopen(run)
        self._log(run, params=params, tags=tags)

    def trial_started(self, record: TrialRecord) -> None:
        """Open the run of a trial or reference, or open it again after a resume."""
        run = self._trial_run(record)
        if record.status == Status.RUNNING:
            self._reopen(run)
        if run in self._index.ended:  # a journal that is replayed
            return
        self._log(run, params=self._params(run, record), tags=self._status(run, record.status))
        self._described[run] = record.params

    def trial_reported(self, trial: str, reports: Sequence[Report]) -> None:
        """Add training metrics of some steps."""
        run = self._index.find(trial)
        if run is None:
            steps = ", ".join(str(report.step) for report in reports)
            logger.warning("MLflow: trial %s reported before it was started; left out: step %s", trial, steps)
            return
        if run not in self._index.ended:
            self._log(run, metrics=_points(reports))

    def trial_finished(self, record: TrialRecord, reports: Sequence[Report] = ()) -> None:
        """Complete the run of a trial: its whole history where missing, final metrics, and how it ended.

        Args:
            record: how it ended.
            reports: its last ones, which go into the same batch.
        """
        run = self._trial_run(record)
        if run in self._index.ended and self._index.told[run] == record.status:
            return  # ending a run is the last write, so nothing of it is missing
        ended = record.finished or time.time()
        held = {step for steps in self._points.get(run, {}).values() for step in steps}
        last = max({0, *held, *(step for step, _ in record.history), *(report.step for report in reports)})
        points = _points(reports)
        points += [
            (name, value, step, _moment(record.started, ended, step, last))
            for step, metrics in record.history
            for name, value in metrics.items()
        ]
        points += [(name, value, last, ended) for name, value in record.report.metrics.items()]
        tags = self._status(run, record.status)
        if record.error:
            tags["procon.error"] = record.error[:MAX_TEXT]
        if record.kind in ("trial", "scaled") and record.id not in self._places:
            tags[PARETO] = "false"
            tags[COLOR] = run_color(record.kind, record.label, self._place(record.model), pale=True)
            points.append((ON_FRONT, 0.0, 0, ended))
            self._places[record.id] = False, 0.0
        self._log(run, metrics=points, params=self._params(run, record), tags=tags)
        self._end(run, record.status, ended)

    def finish_parent(
        self, model: str, status: str, files: Iterable[Path], front: FrontDocument, at: float | None = None
    ) -> None:
        """Put the front on the parent run and mark its members among the children.

        Args:
            model: whose parent.
            status: FINISHED, FAILED or STOPPED.
            files: artifacts, at the top of the run's artifact view.
            front: of the whole sweep.
            at: when it ended, in seconds since the epoch; now, if none.
        """
        run = self._index.find_or_create(
            parent_key(model), name=f"{self._index.experiment}: {model}", tags={"procon.kind": "parent"}
        )
        for file in files:
            self._index.client.log_artifact(run, str(file))
        self._index.client.log_text(run, json.dumps(front_rows(front, model)), TABLE)
        body = front.models.get(model)  # none where no trial of the model was recorded
        now = at or time.time()
        summary = {"front/hypervolume": body.hypervolume if body else 0.0, "front/size": len(body.front) if body else 0}
        if body is not None and body.verdict is not None:
            told = body.verdict
            summary |= {"front/gain": told.difference, "front/gain_low": told.low, "front/gain_high": told.high}
        tags = {
            LOGGED_TABLES: json.dumps([{"path": TABLE, "type": "table"}]),
            "mlflow.note.content": front_note(front, model, picture_of(run)),
            STATUS: status,
        }
        self._log(run, metrics=[(name, value, 0, now) for name, value in summary.items()], tags=tags, again=True)
        for trial in body.trials if body else ():
            self._mark(model, trial)
        if run not in self._index.ended:  # what has ended keeps its duration
            self._end(run, Status(status), now)

    def end_parent(self, model: str, status: str, reason: str) -> None:
        """End the parent run of ``model`` without a report."""
        run = self._index.find_or_create(
            parent_key(model), name=f"{self._index.experiment}: {model}", tags={"procon.kind": "parent"}
        )
        self._log(run, tags={STATUS: status, "procon.error": reason[:MAX_TEXT]})
        self._end(run, Status(status), time.time())

    def _mark(self, model: str, trial: TrialEntry) -> None:
        """Whether the trial is on the front, and how surely: as a tag, as numbers and as a colour."""
        run = self._index.find(trial.id)
        place = trial.on_front, round(trial.p_on_front or 0.0, 2)
        if run is None or self._places.get(trial.id) == place:
            return
        now = time.time()
        held = {} if run in self._index.created else self._index.client.get_run(run).data.metrics
        values = {ON_FRONT: float(trial.on_front), "front/p_on_front": trial.p_on_front}
        points = [(name, value, 0, now) for name, value in values.items() if value not in (None, held.get(name))]
        color = run_color("trial", trial.id, self._place(model), pale=not trial.on_front)
        tags = {PARETO: "true" if trial.on_front else "false", COLOR: color}
        self._log(run, metrics=points, tags=tags, again=True)
        self._places[trial.id] = place

    @property
    def experiment_id(self) -> str | None:
        """The experiment's id; None before the store was first reached."""
        return self._index.experiment_id

    def _trial_run(self, record: TrialRecord) -> str:
        parent = self._index.find_or_create(
            parent_key(record.model), name=f"{self._index.experiment}: {record.model}", tags={"procon.kind": "parent"}
        )
        tags = {
            "mlflow.parentRunId": parent,
            "procon.kind": record.kind,
            "procon.model": record.model,
            "procon.trial": record.id,
            "procon.label": record.label,
            "procon.arm": record.arm,
            STATUS: str(record.status),
            COLOR: run_color(record.kind, record.label, self._place(record.model)),
        }
        name = run_name(record, alone=len(self._models) < 2)
        return self._index.find_or_create(record.id, name=name, tags=tags, started=record.started)

    def _place(self, model: str) -> int:
        """The place of ``model`` among those of the sweep, which decides its colour."""
        return self._models.index(model) if model in self._models else 0

    def _params(self, run: str, record: TrialRecord) -> Mapping[str, Any]:
        """The trial's parameters, where this process has not logged them yet: those searched, the model, those fixed.

        The latter only of a run of this process: another version may write them another way, and MLflow refuses a
        parameter that changes.
        """
        if self._described.get(run) == record.params:
            return {}
        fixed = {"model": record.model, **flat(record.trial or {})} if run in self._index.created else {}
        return {**fixed, **record.params}

    def _status(self, run: str, status: Status) -> dict[str, str]:
        """The tag of the trial's status, where the run has not got it yet."""
        return {} if self._index.told.get(run) == str(status) else {STATUS: str(status)}

    def _reopen(self, run: str) -> None:
        if run in self._index.ended:
            self._index.client.update_run(run, status="RUNNING")
            self._index.ended.discard(run)

    def _end(self, run: str, status: Status, at: float) -> None:
        self._index.client.set_terminated(run, RUN_STATUS[status], milliseconds(at))
        self._index.ended.add(run)
        self._index.told[run] = str(status)
        self._described.pop(run, None)
        self._points.pop(run, None)  # should it ever be opened again, the store knows
        self._index.created.discard(run)

    def _log(
        self,
        run: str,
        metrics: Iterable[tuple[str, float, int, float]] = (),
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        again: bool = False,
    ) -> None:
        """One batch: points the run lacks (all of them where ``again``), parameters, tags."""
        from mlflow.entities import Metric, Param, RunTag

        first: dict[tuple[str, int], tuple[str, float, int, float]] = {}
        for point in metrics:
            if math.isfinite(point[1]):
                first.setdefault((point[0], point[2]), point)  # a history repeats what was reported
        points = list(first.values())
        if not again:
            points = [point for point in points if point[2] not in self._steps(run, point[0])]
        entries = [Metric(name, float(value), milliseconds(at), step) for name, value, step, at in points]
        values = [Param(path, stable_text(value)) for path, value in (params or {}).items()]
        marks = [RunTag(key, value) for key, value in (tags or {}).items()]
        while entries or values or marks:
            self._index.client.log_batch(run, entries[:MAX_METRICS], values[:MAX_PARAMS], marks)
            entries, values, marks = entries[MAX_METRICS:], values[MAX_PARAMS:], []
        if tags and STATUS in tags:
            self._index.told[run] = tags[STATUS]
        for name, _, step, _ in points:
            self._steps(run, name).add(step)

    def _steps(self, run: str, metric: str) -> set[int]:
        """Steps of ``metric`` that the run already holds; asked of the store only for runs of an earlier process."""
        held = self._points.setdefault(run, {})
        if metric not in held:
            known = [] if run in self._index.created else self._index.client.get_metric_history(run, metric)
            held[metric] = {point.step for point in known}
        return held[metric]


def _points(reports: Iterable[Report]) -> list[tuple[str, float, int, float]]:
    return [(name, value, each.step, each.at) for each in reports for name, value in each.metrics.items()]


def _moment(started: float, ended: float, step: int, last: int) -> float:
    """When a step was about taken: history keeps no clock, and equal times would make MLflow's time axis useless."""
    return started + (ended - started) * (step / last if last else 1.0) if started else ended
