"""The journal's events as MLflow runs, while the sweep goes on."""

from collections.abc import Mapping
from typing import Any

from orchestrator.journal import Event, Journal, records
from orchestrator.records import Status, TrialRecord
from orchestrator.report import ReportFiles
from orchestrator.tracking import Tracker, parent_key
from sweeps.spec import SweepSpec

GIVEN_UP = "procon.given_up"
"""Tag of a parent run whose model could not be prepared: why."""
FLUSH_SECONDS = 60.0
"""How long the end of a sweep waits for an MLflow that is slow or away."""


class Mirror:
    """Turns every journal event into what :class:`~orchestrator.tracking.Tracker` is told.

    Args:
        spec: the sweep.
        uri: MLflow tracking URI.
        artifacts: where a new experiment keeps artifacts; none leaves it to the store.
        journal: remembers run ids, so that a resumed sweep continues the same runs.
        manifest: versions, commit and hardware, which tag the parent runs.
        known: run ids that earlier drivers remembered.
    """

    def __init__(
        self,
        spec: SweepSpec,
        uri: str,
        artifacts: str | None,
        journal: Journal,
        manifest: dict[str, Any],
        known: Mapping[str, str],
    ) -> None:
        self._models = [model.name for model in spec.models]
        self._events: dict[str, list[Event]] = {}

        self._runs: dict[str, str] = dict(known)
        self._given_up: set[str] = set()

        def remember(key: str, run_id: str) -> None:
            journal.append("mlflow_run", key=key, run_id=run_id)
            self._runs[key] = run_id

        self._tracker = Tracker(uri, spec.name, artifacts, remember=remember, known=known)
        params = {**_flat(spec.trial.model_dump(mode="json"))}
        tags = {f"version.{name}": version for name, version in manifest["versions"].items() if version}
        tags |= {"git.commit": manifest["git"]} if manifest["git"] else {}
        for model in spec.models:
            self._tracker.parent(model.name, {"model.path": model.path, **params}, tags)

    @property
    def experiment_id(self) -> str | None:
        """The MLflow experiment's id; none before the store was first reached."""
        return self._tracker.experiment_id

    @property
    def waiting(self) -> int:
        """Events that MLflow has not been given yet."""
        return self._tracker.waiting

    def trouble(self) -> str | None:
        """Why events wait, while MLflow does not take them; none while all is well."""
        reason = self._tracker.trouble
        return reason and f"MLflow does not take events ({reason}); {self.waiting} wait, and the sweep goes on"

    @property
    def parent_runs(self) -> dict[str, str]:
        """MLflow run that holds the front, by model; what MLflow was not reached for is absent."""
        return {model: self._runs[parent_key(model)] for model in self._models if parent_key(model) in self._runs}

    def on_event(self, event: Event) -> None:
        """Take in one event of the journal; returns at once."""
        kind = event["event"]
        if kind == "trial_started":
            self._events.setdefault(event["id"], []).append(event)
            self._tracker.trial_started(self._record(event["id"]))
        elif kind == "trial_reported":
            self._tracker.trial_reported(event["id"], event["step"], event["metrics"], event["time"])
        elif kind == "trial_rung":
            self._events[event["id"]].append(event)
            self._tracker.trial_reported(event["id"], event["step"], event["metrics"], event["time"])
        elif kind == "trial_ended":
            self._events[event["id"]].append(event)
            self._tracker.trial_finished(self._record(event["id"]))
            del self._events[event["id"]]
        elif kind == "model_given_up":
            self._given_up.add(event["model"])
            self._tracker.parent(event["model"], tags={GIVEN_UP: event["error"]})
        elif kind == "sweep_resumed":
            for model in self._given_up:
                self._tracker.parent(model, tags={GIVEN_UP: ""})
            self._given_up.clear()

    def finish(self, front: dict[str, Any], files: ReportFiles, status: str) -> int:
        """Put the report on the parent runs and end them; how many events could not be delivered."""
        for model in self._models:
            ended = Status.FAILED if model in self._given_up else status
            self._tracker.finish_parent(model, ended, files, front)
        return self._tracker.close(FLUSH_SECONDS)

    def _record(self, trial: str) -> TrialRecord:
        return records(self._events[trial])[0]


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
