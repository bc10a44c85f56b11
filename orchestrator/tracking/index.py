"""Which MLflow run stands for which trial: created once, remembered, and found again by whoever goes on."""

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from orchestrator.tracking.write_ahead import follow, make_with_log

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run, RunData

logger = logging.getLogger(__name__)

EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Model training, not an evaluation of a language-model application; a fresh browser still opens MLflow's GenAI view
unless the address ends in ``/#/experiments/<id>?workflowType=machine_learning``."""
SOURCE_TAGS = {"mlflow.source.name": "procon run", "mlflow.source.type": "LOCAL"}
STATUS = "procon.status"
"""MLflow knows no PRUNED and no STOPPED: this tag keeps them apart."""
IDENTITY = "procon.identity"
"""The tag by which a run that stands for no trial is found again by whoever never heard of it."""
ORPHANS = (("mlflow.parentRunId", "procon.trial"), (IDENTITY,))
"""Tags by which the run of a trial is found, and any other."""
CHILDREN = 500
"""Runs that are asked for at once."""
ERRORS = "mlflow.store.db.utils"
"""Logs what it also raises, and what it raises is told in one sentence."""


class RunIndex:
    """The runs of one MLflow experiment by key, a trial's id or ``parent_key(model)``; not thread-safe.

    Args:
        uri: MLflow tracking URI.
        experiment: name of the experiment; made where it is missing.
        artifact_location: where a new experiment keeps artifacts; None leaves it to the store.
        remember: called with (key, run id) once a run is known.
        known: run ids that earlier processes remembered.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        artifact_location: str | None,
        remember: Callable[[str, str], None],
        known: Mapping[str, str],
    ) -> None:
        self._uri, self._artifact_location = uri, artifact_location
        self.experiment = experiment
        """Its name."""
        self._remember = remember
        self._unchecked = dict(known)
        self._runs: dict[str, str] = {}
        self._asked: set[str] = set()  # keys of runs that were asked for, and no answer came
        self._opened: tuple[MlflowClient, str] | None = None
        self._close: Callable[[], None] = lambda: None
        self.created: set[str] = set()
        """Runs that this process created: it knows all that they hold."""
        self.ended: set[str] = set()
        """Runs that have ended."""
        self.told: dict[str, str] = {}
        """The tag ``STATUS`` by run."""
        self.held: dict[str, RunData] = {}
        """What runs held when this process found them: parameters, tags and latest metrics."""
        self._listed: set[str] = set()  # parents whose children are below
        self._children: dict[tuple[str | None, str | None], Run] = {}  # by parent and trial
        self._by_id: dict[str, Run] = {}  # the same

    @property
    def client(self) -> "MlflowClient":
        """The store's client; the first use of a new SQLite store creates its tables."""
        return self._open()[0]

    @property
    def experiment_id(self) -> str | None:
        """The experiment's id; None before the store was first reached."""
        return self._opened[1] if self._opened else None

    def close(self) -> None:
        """Leave the store to others; what is asked next opens it again."""
        self._close()
        self._close = lambda: None

    def tag_experiment(self, tags: Mapping[str, str]) -> None:
        """Set tags of the experiment."""
        client, experiment = self._open()
        for name, value in tags.items():
            client.set_experiment_tag(experiment, name, value)

    def find(self, key: str) -> str | None:
        """The run of ``key``, of this process or of an earlier one that remembered it; None where there is none."""
        return self._runs.get(key) or self._checked(key)

    def find_or_create(self, key: str, name: str, tags: Mapping[str, str], started: float | None = None) -> str:
        """The run of ``key``, created and remembered on its first use."""
        if (parent := tags.get("mlflow.parentRunId")) is not None and parent not in self._listed:
            self._list(parent)
        run = self.find(key) or self._orphan(key, tags)
        if run is None:
            client, experiment = self._open()
            begun = milliseconds(started) if started else None
            self._asked.add(key)
            made = client.create_run(experiment, start_time=begun, tags={**SOURCE_TAGS, **tags}, run_name=name)
            self._asked.discard(key)
            run = str(made.info.run_id)
            self.created.add(run)
            self.told[run] = tags.get(STATUS, "")
        if key not in self._runs:
            self._runs[key] = run
            try:
                self._remember(key, run)
            except Exception as error:  # the run exists: losing its events would be worse than not knowing its id
                logger.warning("MLflow run %s of %s could not be remembered (%s)", run, key, error)
        return run

    def _open(self) -> tuple["MlflowClient", str]:
        if self._opened is None:
            from mlflow import MlflowClient

            _quieten()
            make_with_log(self._uri)
            self._close = follow(self._uri)
            client = MlflowClient(self._uri, registry_uri=self._uri)  # else it makes ./mlflow.db for a registry
            found = client.get_experiment_by_name(self.experiment)
            if found is None:
                identity = client.create_experiment(self.experiment, self._artifact_location, EXPERIMENT_TAGS)
            else:
                identity = found.experiment_id
                if found.lifecycle_stage == "deleted":  # its name stays taken, so that nothing else could be done
                    client.restore_experiment(identity)
            self._opened = client, identity
        return self._opened

    def _checked(self, key: str) -> str | None:
        """The run an earlier process remembered for ``key``, if this store still has it."""
        run_id = self._unchecked.get(key)
        run = (self._by_id.get(run_id) or self._lookup(run_id)) if run_id else None
        self._unchecked.pop(key, None)  # only after the look-up: an outage must not lose the id
        if run is None:
            return None
        self._runs[key] = self._adopt(run)
        return self._runs[key]

    def _lookup(self, run_id: str) -> "Run | None":
        from mlflow.exceptions import MlflowException

        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None

    def _orphan(self, key: str, tags: Mapping[str, str]) -> str | None:
        """A run that was created but not remembered, because the process died or the answer was lost in between."""
        trial, parent = tags.get("procon.trial"), tags.get("mlflow.parentRunId")
        if trial is not None and key not in self._asked:  # nobody creates children while this process does
            known = self._children.get((parent, trial))
            return self._adopt(known) if known is not None else None
        one_of = {name: value for name in ORPHANS[trial is None] if (value := tags.get(name)) is not None}
        if not one_of:
            return None
        client, experiment = self._open()
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in one_of.items())
        found = client.search_runs([experiment], wanted, max_results=1)
        return self._adopt(found[0]) if found else None

    def _list(self, parent: str) -> None:
        """Note the runs of trials below ``parent``: asking for one after the other takes many times as long."""
        token = None if parent in self.created else ""
        client, experiment = self._open()
        while token is not None:
            wanted = f"tags.`mlflow.parentRunId` = '{parent}'"
            page = client.search_runs([experiment], wanted, max_results=CHILDREN, page_token=token or None)
            self._children |= {(parent, run.data.tags.get("procon.trial")): run for run in page}
            self._by_id |= {str(run.info.run_id): run for run in page}
            token = page.token or None
        self._listed.add(parent)

    def _adopt(self, run: "Run") -> str:
        run_id = str(run.info.run_id)
        self.told[run_id] = run.data.tags.get(STATUS, "")
        self.held[run_id] = run.data
        if run.info.status != "RUNNING":
            self.ended.add(run_id)
        return run_id


def milliseconds(seconds: float) -> int:
    """MLflow's clock."""
    return int(seconds * 1000)


def _quieten() -> None:
    """MLflow and alembic narrate the creation of a store amid the live table, and every error with its traceback."""
    for name, level in (("mlflow", logging.WARNING), ("alembic", logging.WARNING), (ERRORS, logging.CRITICAL)):
        logging.getLogger(name).setLevel(level)
