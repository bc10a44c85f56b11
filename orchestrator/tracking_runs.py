"""What stands in MLflow: one experiment, a parent run per model, a child run per trial; every write may be repeated."""

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.records import Status, TrialRecord
from orchestrator.tracking_front import MAX_TEXT, front_note, front_rows, stable_text

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

logger = logging.getLogger(__name__)

RUN_STATUS = {
    Status.RUNNING: "RUNNING",
    Status.FINISHED: "FINISHED",
    Status.FAILED: "FAILED",
    Status.PRUNED: "KILLED",
    Status.STOPPED: "KILLED",
}
"""MLflow knows no PRUNED and no STOPPED: the tag ``procon.status`` keeps them apart."""
TABLE = "front_table.json"
LOGGED_TABLES = "mlflow.loggedArtifacts"
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Model training, not an evaluation of a language-model application; a fresh browser still opens MLflow's GenAI view
unless the address ends in ``/#/experiments/<id>?workflowType=machine_learning``."""
SOURCE_TAGS = {"mlflow.source.name": "procon run", "mlflow.source.type": "LOCAL"}
ERRORS = "mlflow.store.db.utils"
"""Logs what it also raises, and what it raises is told in one sentence."""
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
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        artifact_location: str | None,
        remember: Callable[[str, str], None],
        known: Mapping[str, str],
    ) -> None:
        self._uri, self._experiment, self._artifact_location = uri, experiment, artifact_location
        self._remember = remember
        self._unchecked = dict(known)
        self._runs: dict[str, str] = {}
        self._ended: dict[str, str] = {}  # run -> procon.status it ended with
        self._created: set[str] = set()
        self._points: dict[str, dict[str, set[int]]] = {}  # run -> metric -> steps
        self._on_front: dict[str, bool] = {}
        self._opened: tuple[MlflowClient, str] | None = None

    def parent(self, model: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Open the parent run of ``model``."""
        run = self._run(
            parent_key(model),
            name=f"{self._experiment}: {model}",
            tags={"procon.kind": "parent", "procon.model": model, "procon.status": "RUNNING", **tags},
        )
        self._reopen(run)
        self._log(run, params=params, tags=tags)

    def trial_started(self, record: TrialRecord) -> None:
        """Open the run of a trial or reference, or open it again after a resume."""
        run = self._trial_run(record)
        if record.status == Status.RUNNING:
            self._reopen(run)
        if run in self._ended:  # a journal that is replayed
            return
        self._log(run, params=record.params, tags={"procon.status": str(record.status)})

    def trial_reported(self, trial: str, reports: Sequence[Report]) -> None:
        """Add training metrics of some steps."""
        run = self._runs.get(trial) or self._checked(trial)
        if run is None:
            steps = ", ".join(str(report.step) for report in reports)
            logger.warning("MLflow: trial %s reported before it was started; left out: step %s", trial, steps)
            return
        if run not in self._ended:
            points = [(name, value, each.step, each.at) for each in reports for name, value in each.metrics.items()]
            self._log(run, metrics=points)

    def trial_finished(self, record: TrialRecord) -> None:
        """Complete the run of a trial: its whole history where missing, final metrics, and how it ended."""
        run = self._trial_run(record)
        if self._ended.get(run) == str(record.status):  # ending a run is the last write, so nothing of it is missing
            return
        ended = record.finished or time.time()
        last = max((step for step, _ in record.history), default=0)
        points = [
            (name, value, step, _moment(record.started, ended, step, last))
            for step, metrics in record.history
            for name, value in metrics.items()
        ]
        points += [(name, value, last, ended) for name, value in record.metrics.items()]
        tags = {"procon.status": str(record.status)}
        if record.error:
            tags["procon.error"] = record.error[:MAX_TEXT]
        if record.kind == "trial" and record.id not in self._on_front:
            tags["pareto"] = "false"
            self._on_front[record.id] = False
        self._log(run, metrics=points, params=record.params, tags=tags)
        self._end(run, record.status, ended)

    def finish_parent(self, model: str, status: str, files: Iterable[Path], front: Mapping[str, Any]) -> None:
        """Put the front on the parent run and mark its members among the children.

        Args:
            model: whose parent.
            status: FINISHED, FAILED or STOPPED.
            files: artifacts, at the top of the run's artifact view.
            front: the document of ``front.json``.
        """
        run = self._run(parent_key(model), name=f"{self._experiment}: {model}", tags={"procon.kind": "parent"})
        for file in files:
            self._client.log_artifact(run, str(file))
        self._client.log_text(run, json.dumps(front_rows(front, model)), TABLE)
        body = front["models"].get(model, {"trials": [], "reference": {}, "hypervolume": 0.0})
        now = time.time()
        summary = {"front/hypervolume": body["hypervolume"], "front/size": sum(t["on_front"] for t in body["trials"])}
        for label, entry in body["reference"].items():
            for objective in front["objectives"]:
                value = entry["metrics"].get(objective["metric"])
                summary |= {} if value is None else {f"reference/{label}/{objective['metric']}": value}
        tags = {
            LOGGED_TABLES: json.dumps([{"path": TABLE, "type": "table"}]),
            "mlflow.note.content": front_note(front, model),
            "procon.status": status,
        }
        self._log(run, metrics=[(name, value, 0, now) for name, value in summary.items()], tags=tags, again=True)
        for trial in body["trials"]:
            self._mark(trial["id"], trial["on_front"])
        self._end(run, Status(status), now)

    def _mark(self, trial: str, on_front: bool) -> None:
        run = self._runs.get(trial) or self._checked(trial)
        if run is not None and self._on_front.get(trial) is not on_front:
            self._client.set_tag(run, "pareto", "true" if on_front else "false")
            self._on_front[trial] = on_front

    @property
    def experiment_id(self) -> str | None:
        """The experiment's id; none before the store was first reached."""
        return self._opened[1] if self._opened else None

    @property
    def _client(self) -> "MlflowClient":
        return self._open()[0]

    def _open(self) -> tuple["MlflowClient", str]:
        """The client and the experiment's id; the first call to a new SQLite store creates its tables."""
        if self._opened is None:
            from mlflow import MlflowClient

            _quieten()
            client = MlflowClient(self._uri, registry_uri=self._uri)  # else it makes ./mlflow.db for a registry
            found = client.get_experiment_by_name(self._experiment)
            if found is None:
                identity = client.create_experiment(self._experiment, self._artifact_location, EXPERIMENT_TAGS)
            else:
                identity = found.experiment_id
                if found.lifecycle_stage == "deleted":  # its name stays taken, so that nothing else could be done
                    client.restore_experiment(identity)
            self._opened = client, identity
        return self._opened

    def _trial_run(self, record: TrialRecord) -> str:
        parent = self._run(
            parent_key(record.model), name=f"{self._experiment}: {record.model}", tags={"procon.kind": "parent"}
        )
        tags = {
            "mlflow.parentRunId": parent,
            "procon.kind": record.kind,
            "procon.model": record.model,
            "procon.trial": record.id,
            "procon.label": record.label,
        }
        return self._run(record.id, name=record.id, tags=tags, started=record.started)

    def _run(self, key: str, name: str, tags: Mapping[str, str], started: float | None = None) -> str:
        """The run of ``key``, created and remembered on its first use."""
        run = self._runs.get(key) or self._checked(key) or self._orphan(tags)
        if run is None:
            client, experiment = self._open()
            begun = _milliseconds(started) if started else None
            run = str(
                client.create_run(experiment, start_time=begun, tags={**SOURCE_TAGS, **tags}, run_name=name).info.run_id
            )
            self._created.add(run)
        if key not in self._runs:
            self._runs[key] = run
            try:
                self._remember(key, run)
            except Exception as error:  # the run exists: losing its events would be worse than not knowing its id
                logger.warning("MLflow run %s of %s could not be remembered (%s)", run, key, error)
        return run

    def _checked(self, key: str) -> str | None:
        """The run an earlier process remembered for ``key``, if this store still has it."""
        run_id = self._unchecked.get(key)
        run = self._lookup(run_id) if run_id else None
        self._unchecked.pop(key, None)  # only after the look-up: an outage must not lose the id
        if run is None:
            return None
        self._runs[key] = self._adopt(run)
        return self._runs[key]

    def _lookup(self, run_id: str) -> "Run | None":
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None

    def _orphan(self, tags: Mapping[str, str]) -> str | None:
        """A child that was created but not remembered, because the process died or the answer was lost in between."""
        trial, parent = tags.get("procon.trial"), tags.get("mlflow.parentRunId")
        if trial is None or parent in self._created:  # no process before this one could have known the parent
            return None
        client, experiment = self._open()
        wanted = f"tags.`mlflow.parentRunId` = '{parent}' and tags.`procon.trial` = '{trial}'"
        found = client.search_runs([experiment], wanted, max_results=1)
        return self._adopt(found[0]) if found else None

    def _adopt(self, run: "Run") -> str:
        run_id = str(run.info.run_id)
        if run.info.status != "RUNNING":
            self._ended[run_id] = run.data.tags.get("procon.status", "")
        return run_id

    def _reopen(self, run: str) -> None:
        if run in self._ended:
            self._client.update_run(run, status="RUNNING")
            del self._ended[run]

    def _end(self, run: str, status: Status, at: float) -> None:
        self._client.set_terminated(run, RUN_STATUS[status], _milliseconds(at))
        self._ended[run] = str(status)

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

        points = [point for point in metrics if math.isfinite(point[1])]
        if not again:
            points = [point for point in points if point[2] not in self._steps(run, point[0])]
        entries = [Metric(name, float(value), _milliseconds(at), step) for name, value, step, at in points]
        values = [Param(path, stable_text(value)) for path, value in (params or {}).items()]
        marks = [RunTag(key, value) for key, value in (tags or {}).items()]
        while entries or values or marks:
            self._client.log_batch(run, entries[:MAX_METRICS], values[:MAX_PARAMS], marks)
            entries, values, marks = entries[MAX_METRICS:], values[MAX_PARAMS:], []
        for name, _, step, _ in points:
            self._steps(run, name).add(step)

    def _steps(self, run: str, metric: str) -> set[int]:
        """Steps of ``metric`` that the run already holds; asked of the store only for runs of an earlier process."""
        held = self._points.setdefault(run, {})
        if metric not in held:
            known = [] if run in self._created else self._client.get_metric_history(run, metric)
            held[metric] = {point.step for point in known}
        return held[metric]


def _moment(started: float, ended: float, step: int, last: int) -> float:
    """When a step was about taken: history keeps no clock, and equal times would make MLflow's time axis useless."""
    return started + (ended - started) * (step / last if last else 1.0) if started else ended


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _quieten() -> None:
    """MLflow and alembic narrate the creation of a store amid the live table, and every error with its traceback."""
    for name, level in (("mlflow", logging.WARNING), ("alembic", logging.WARNING), (ERRORS, logging.CRITICAL)):
        logging.getLogger(name).setLevel(level)
