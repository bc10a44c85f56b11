"""What stands in MLflow: one experiment, a parent run per model, a child run per trial; every write may be repeated."""

import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.front.entries import SCALE
from orchestrator.front.schema.comparison import ModelComparison
from orchestrator.front.schema.document import FrontDocument, ModelFront
from orchestrator.front.volume_course import VolumePoint
from orchestrator.record.trials import Status, TrialRecord
from orchestrator.tracking.batches import Batches, Point
from orchestrator.tracking.comparison_run import normalised_metrics, put_comparison
from orchestrator.tracking.front_table import MAX_TEXT, front_note, front_rows
from orchestrator.tracking.index import STATUS, RunIndex, milliseconds
from orchestrator.tracking.inputs import SweepData
from orchestrator.tracking.logged_models import log_front_models
from orchestrator.tracking.looks import COLOR, picture_of, run_color, run_name, settings_of
from orchestrator.tracking.measured import Place, final_metrics, over_seeds
from orchestrator.tracking.views import Shown, are_known, view_tags
from orchestrator.tracking.writes import End

logger = logging.getLogger(__name__)

RUN_STATUS = {
    Status.RUNNING: "RUNNING",
    Status.FINISHED: "FINISHED",
    Status.FAILED: "FAILED",
    Status.PRUNED: "KILLED",
    Status.STOPPED: "KILLED",
}
RUN_NAME = "mlflow.runName"
"""The tag that renames a run."""
TABLE = "front_table.json"
LOGGED_TABLES = "mlflow.loggedArtifacts"
OFF_FRONT = Place(on_front=False)
"""Of a trial before its front is known."""


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
        self._batches = Batches(index)
        self._described: dict[str, Mapping[str, Any]] = {}  # run -> parameters
        self._places: dict[str, Place] = {}  # by trial
        self._models: list[str] = []
        self._grown: dict[str, VolumePoint] = {}  # by model
        self._data: SweepData | None = None
        self._checkpoints: Path | None = None
        self._fed: set[str] = set()  # runs whose data is known to the store

    def sweep(self, data: SweepData, checkpoints: Path) -> None:
        """What trials that come from now on were made of, and the folder that keeps their weights."""
        self._data, self._checkpoints = data, checkpoints

    def comparison(self, found: ModelComparison, files: Sequence[Path], identity: str) -> None:
        """The models of the sweep side by side, in one run of their own, which ``identity`` finds again."""
        put_comparison(self._index, self._batches, found, files, identity)

    def front(self, front: FrontDocument) -> None:
        """The front is known before its trials are told, as of a sweep that is brought into another store."""
        for body in front.models.values():
            self._places |= _places(body)

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
        if self._data is not None and run in self._index.created:
            self._index.client.log_inputs(run, self._data.everything)
        self._batches.log(run, params=params, tags=tags)

    def volumes(self, model: str, points: Sequence[tuple[VolumePoint, float]]) -> None:
        """How the front of ``model`` grew, by the number of its trials that had ended; with each, when that was."""
        run = self._index.find(parent_key(model))
        if run is not None and points:
            self._grown[model] = points[-1][0]
            found = [point for one, at in points for point in _volume_points(one, at)]
            self._batches.log(run, found)

    def trial_started(self, record: TrialRecord) -> None:
        """Open the run of a trial or reference, or open it again after a resume."""
        run = self._trial_run(record)
        if record.status == Status.RUNNING:
            self._reopen(run)
        if run in self._index.ended:  # a journal that is replayed
            return
        status = {} if self._index.told.get(run) == str(record.status) else {STATUS: str(record.status)}
        self._batches.log(run, params=self._params(run, record), tags=status)
        self._described[run] = record.params

    def trial_reported(self, trial: str, reports: Sequence[Report]) -> None:
        """Add training metrics of some steps."""
        run = self._index.find(trial)
        if run is None:
            steps = ", ".join(str(report.step) for report in reports)
            logger.warning("MLflow: trial %s reported before it was started; left out: step %s", trial, steps)
            return
        if run not in self._index.ended:
            self._batches.log(run, _points(reports))

    def trial_finished(self, record: TrialRecord, reports: Sequence[Report] = ()) -> None:
        """Complete the run of a trial: its whole history where missing, final metrics, and how it ended.

        Args:
            record: how it ended.
            reports: its last ones, which go into the same batch.
        """
        run = self._trial_run(record)
        if run in self._index.ended and self._index.told[run] == record.status:
            return  # that tag is the last that is written, so nothing is missing
        ended = record.finished or time.time()
        held = self._batches.held(run)
        last = max({0, *held, *(step for step, _ in record.history), *(report.step for report in reports)})
        points = _points(reports)
        points += [
            Point(name, value, step, _moment(record.started, ended, step, last))
            for step, metrics in record.history
            for name, value in metrics.items()
        ]
        points += [Point(name, value, last, ended) for name, value in final_metrics(record).items()]
        tags = {STATUS: str(record.status)}
        if record.status is Status.PRUNED:
            tags[RUN_NAME] = f"{self._name(record)} · pruned"  # MLflow shows it with the red cross of a failure
        if record.error:
            tags["procon.error"] = record.error[:MAX_TEXT]
        if record.kind in ("trial", "scaled"):
            place = self._places.setdefault(record.id, OFF_FRONT)
            points += [Point(name, value, 0, ended) for name, value in place.metrics().items()]
        end = End(RUN_STATUS[record.status], milliseconds(ended))
        self._batches.log(run, points, params=self._params(run, record), tags=tags, end=end)
        self._ended(run, record.status)

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
        before = self._grown.get(model, VolumePoint(0, 0.0, 0))
        grown = VolumePoint(before.ended, body.hypervolume, len(body.front)) if body else before
        points = _volume_points(grown, now) if grown != before or not grown.ended else []  # replicates change it
        if body is not None and body.verdict is not None:
            told = body.verdict
            gain = {"front/gain": told.difference, "front/gain_low": told.low, "front/gain_high": told.high}
            points += [Point(name, value, 0, now) for name, value in gain.items()]
        points += [Point(name, value, 0, now) for name, value in _normalised(front, model).items()]
        tags = {
            LOGGED_TABLES: json.dumps([{"path": TABLE, "type": "table"}]),
            "mlflow.note.content": front_note(front, model, picture_of(run)),
            STATUS: status,
        }
        self._batches.log(run, points, tags=tags, again=True)
        if body is not None:
            self._mark(model, body)
        if run not in self._index.ended:  # what has ended keeps its duration
            self._end(run, Status(status), now)

    def front_models(self, model: str, front: FrontDocument) -> None:
        """Make the members of the front of ``model`` logged models; a server that knows none is left in peace."""
        from mlflow.exceptions import MlflowException

        run, body = self._index.find(parent_key(model)), front.models.get(model)
        if run is None or body is None:
            return
        try:
            log_front_models(self._index, run, body, self._checkpoints, {"procon.model": model})
        except MlflowException as error:
            if error.error_code != "ENDPOINT_NOT_FOUND":
                raise
            logger.warning("MLflow's server is older than 3.0 and keeps no models of runs; they are left out")

    def end_parent(self, model: str, status: str, reason: str) -> None:
        """End the parent run of ``model`` without a report."""
        run = self._index.find_or_create(
            parent_key(model), name=f"{self._index.experiment}: {model}", tags={"procon.kind": "parent"}
        )
        self._batches.log(run, tags={STATUS: status, "procon.error": reason[:MAX_TEXT]})
        self._end(run, Status(status), time.time())

    def _mark(self, model: str, body: ModelFront) -> None:
        """Where each trial stands, as tags, as numbers and as a colour; of references what their seeds say together."""
        now = time.time()
        for trial, place in _places(body).items():
            run = self._index.find(trial)
            if run is None or (self._places.get(trial) == place and run not in self._index.held):
                continue
            points = [Point(name, value, 0, now) for name, value in place.metrics().items()]
            self._batches.log(run, points, tags=place.tags(self._place(model)), again=True)
            self._places[trial] = place
        for entry in body.reference.values():
            first = next((seed.id for seed in entry.seeds or ()), None)
            run = self._index.find(first) if first else None
            if run is not None:
                points = [Point(name, value, 0, now) for name, value in over_seeds(entry).items()]
                self._batches.log(run, points, again=True)

    def close(self) -> None:
        """Leave the store."""
        self._index.close()

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
            STATUS: str(Status.RUNNING),
            COLOR: run_color(record.kind, record.label, self._place(record.model), pale=record.kind == "replicate"),
        }
        if record.kind in ("trial", "scaled"):
            tags |= self._places.get(record.id, OFF_FRONT).tags(self._place(record.model))
        run = self._index.find_or_create(record.id, name=self._name(record), tags=tags, started=record.started)
        if self._data is not None and run in self._index.created and run not in self._fed:
            self._index.client.log_inputs(run, self._data.of(record))
            self._fed.add(run)
        return run

    def _name(self, record: TrialRecord) -> str:
        return run_name(record, alone=len(self._models) < 2)

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
        fixed = {"model": record.model, **settings_of(record.trial or {})} if run in self._index.created else {}
        scaled = {SCALE: record.scale} if record.scaled_of is not None else {}
        return {**fixed, **record.params, **scaled}

    def _reopen(self, run: str) -> None:
        if run in self._index.ended:
            self._index.client.update_run(run, status="RUNNING")
            self._index.ended.discard(run)

    def _end(self, run: str, status: Status, at: float) -> None:
        self._batches.log(run, end=End(RUN_STATUS[status], milliseconds(at)))
        self._ended(run, status)

    def _ended(self, run: str, status: Status) -> None:
        self._index.ended.add(run)
        self._index.told[run] = str(status)
        self._described.pop(run, None)
        self._batches.forget(run)
        self._index.created.discard(run)
        self._fed.discard(run)


def _normalised(front: FrontDocument, model: str) -> dict[str, float]:
    """The model in its own units beside the others; nothing where it stands alone or has none."""
    compared = front.comparison.normalised.models if front.comparison and front.comparison.normalised else ()
    own = next((one for one in compared if one.model == model), None)
    found = normalised_metrics(own) if own is not None else {}
    return {f"normalised/{what}{end}": value for (what, end), value in found.items()}


def _places(body: ModelFront) -> dict[str, Place]:
    """The place of every searched trial."""
    chosen = body.choice.trial if body.choice is not None else None
    return {trial.id: Place.of(trial, chosen) for trial in body.trials}


def _points(reports: Iterable[Report]) -> list[Point]:
    return [Point(name, value, each.step, each.at) for each in reports for name, value in each.metrics.items()]


def _volume_points(point: VolumePoint, at: float) -> list[Point]:
    values = {"front/hypervolume": point.hypervolume, "front/size": float(point.size)}
    return [Point(name, value, point.ended, at) for name, value in values.items()]


def _moment(started: float, ended: float, step: int, last: int) -> float:
    """When a step was about taken: history keeps no clock, and equal times would make MLflow's time axis useless."""
    return started + (ended - started) * (step / last if last else 1.0) if started else ended
