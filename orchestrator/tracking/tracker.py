"""Journal to MLflow, beside the sweep: a queue and a thread of its own, so that no outage ever holds a trial up."""

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.front.schema.comparison import ModelComparison
from orchestrator.front.schema.document import FrontDocument
from orchestrator.front.volume_course import VolumePoint
from orchestrator.record.trials import TrialRecord
from orchestrator.report.files import ReportFiles
from orchestrator.tracking.index import RunIndex
from orchestrator.tracking.inputs import SweepData
from orchestrator.tracking.runs import Report, RunStore, parent_key
from orchestrator.tracking.store import check_tracking, default_tracking_uri
from orchestrator.tracking.views import Shown

__all__ = ["Tracker", "check_tracking", "default_tracking_uri", "parent_key"]

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between two attempts during an outage; doubled each time."""
PERMANENT = (400, 404, 409)
"""HTTP classes of errors that no retry mends, such as a parameter that would change its value."""
HTTP_LIMITS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""MLflow's own retries would hide an outage for minutes; ours say what happens and stop at ``close``."""

Event = Callable[[], None]


class Tracker:
    """Mirrors a sweep in MLflow; every method returns at once and none raises because of MLflow.

    Events are delivered in order. While the store does not answer they wait in memory and are tried again; an event
    that the store refuses for good is counted and left out. Run ids go to ``remember`` before anything is logged to
    them, so that a resumed sweep, given them as ``known``, continues the same runs.

    Args:
        uri: MLflow tracking URI.
        experiment: name of the experiment; made where it is missing.
        artifact_location: where a new experiment keeps artifacts; None leaves it to the store.
        remember: called with (trial id or ``parent_key(model)``, run id) on the tracker's thread.
        known: run ids that earlier processes remembered, by the same keys.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        artifact_location: str | None = None,
        *,
        remember: Callable[[str, str], None],
        known: Mapping[str, str],
    ) -> None:
        self._store = RunStore(RunIndex(uri, experiment, artifact_location, remember, known))
        self._uri = uri
        self._events: deque[Event] = deque()
        self._gathered: dict[tuple[str, str], list[Any]] = {}  # what waits of a trial or model, by its kind and id
        self._changed = threading.Condition()
        self._closing = self._abandoned = False
        self._refused = 0
        self._trouble: str | None = None
        self._thread: threading.Thread | None = None

    def parent(
        self,
        model: str,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        *,
        since: float | None = None,
        ended: bool = False,
    ) -> None:
        """Open the parent run of ``model``, with parameters and tags of the sweep.

        Args:
            model: whose parent.
            params: of the sweep.
            tags: likewise.
            since: when a run that is created now began, in seconds since the epoch; now, if none.
            ended: whether a run that has ended stays so, since nothing more will happen in it.
        """
        self._put(lambda: self._store.parent(model, params or {}, tags or {}, since, ended=ended))

    def views(self, shown: Shown) -> None:
        """Give the experiment its named views, where MLflow is of a version that is known to keep them."""
        self._put(lambda: self._store.views(shown))

    def sweep(self, data: SweepData, checkpoints: Path) -> None:
        """What the trials that are told from now on were made of, and the folder that keeps their weights."""
        self._put(lambda: self._store.sweep(data, checkpoints))

    def comparison(self, found: ModelComparison, files: Sequence[Path], identity: str) -> None:
        """Put the models of the sweep side by side into a run of their own, which ``identity`` finds again."""
        self._put(lambda: self._store.comparison(found, files, identity))

    def front(self, front: FrontDocument) -> None:
        """Where the trials that are told from now on stand, where that is known before."""
        self._put(lambda: self._store.front(front))

    def volume(self, model: str, point: VolumePoint, at: float) -> None:
        """How far the front of ``model`` had grown at the time ``at``; what waits goes in one batch."""
        self._gather(("volume", model), (point, at), lambda points: self._store.volumes(model, points))

    def trial_started(self, record: TrialRecord) -> None:
        """Open the child run of a trial or reference; its parameters are logged now."""
        self._put(lambda: self._store.trial_started(record))

    def trial_reported(self, trial: str, step: int, metrics: Mapping[str, float], at: float | None = None) -> None:
        """Add training metrics of an optimizer step; ``at`` is when, in seconds since the epoch (now, if none).

        What a trial reports while an earlier report of it still waits goes to MLflow in one batch with that.
        """
        report = Report(step, dict(metrics), time.time() if at is None else at)
        self._gather(("trial", trial), report, lambda reports: self._store.trial_reported(trial, reports))

    def trial_finished(self, record: TrialRecord, reports: Sequence[Report] = ()) -> None:
        """Complete a child run with its final metrics and its true terminal status.

        Args:
            record: how it ended.
            reports: what it said on its way and was not told; with what still waits it goes into the same batch.
        """
        with self._changed:
            waiting = self._gathered.pop(("trial", record.id), [])
            told = [*reports, *waiting]
            waiting.clear()
        self._put(lambda: self._store.trial_finished(record, told))

    def finish_parent(
        self, model: str, status: str, files: ReportFiles, front: FrontDocument, at: float | None = None
    ) -> None:
        """Put the report and the front table on the parent run, mark the front's members, and end the run.

        Args:
            model: whose parent.
            status: FINISHED, FAILED or STOPPED.
            files: of ``write_report``.
            front: of ``build_front``.
            at: when it ended, in seconds since the epoch; now, if none.
        """
        pictures = [file for file in (files.front_png, files.course_png) if file is not None]
        artifacts = [files.front_html, *pictures, files.front_json]
        self._put(lambda: self._store.finish_parent(model, status, artifacts, front, at))
        self._put(lambda: self._store.front_models(model, front))

    def end_parent(self, model: str, status: str, reason: str) -> None:
        """End the parent run of a sweep that came to no report; ``reason`` says why."""
        self._put(lambda: self._store.end_parent(model, status, reason))

    @property
    def experiment_id(self) -> str | None:
        """The MLflow experiment's id; None before the store was first reached."""
        return self._store.experiment_id

    @property
    def waiting(self) -> int:
        """Events that are not delivered yet."""
        return len(self._events)

    @property
    def trouble(self) -> str | None:
        """What MLflow last answered while it does not take events; None while all is well."""
        return self._trouble

    def close(self, timeout: float = 60.0) -> int:
        """Deliver what waits, for at most ``timeout`` seconds.

        Returns:
            how many events did not reach MLflow; the journal still has all of them.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()
            return len(self._events) + self._refused

    def _gather(self, key: tuple[str, str], item: Any, deliver: Callable[[list[Any]], None]) -> None:
        """Deliver ``item`` with everything of its ``key`` that comes while it waits."""
        with self._changed:
            if (waiting := self._gathered.get(key)) is not None:
                waiting.append(item)
                return
            batch = self._gathered[key] = [item]

        def delivered() -> None:
            with self._changed:
                if self._gathered.get(key) is batch:
                    del self._gathered[key]
            if batch:
                deliver(batch)

        self._put(delivered)

    def _put(self, event: Event) -> None:
        with self._changed:
            if self._abandoned:
                self._refused += 1
                return
            self._events.append(event)
            if self._thread is None:
                self._thread = threading.Thread(target=self._deliver, name="mlflow", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _deliver(self) -> None:
        for name, value in HTTP_LIMITS.items():
            os.environ.setdefault(name, value)
        pause = FIRST_PAUSE
        while (event := self._next()) is not None:
            try:
                event()
            except Exception as error:  # whatever a store or a network can raise must stop here
                if not _is_permanent(error):
                    self._wait_out(error, pause)
                    pause = min(LONGEST_PAUSE, pause * 2)
                    continue
                self._refused += 1
                logger.warning("MLflow refused an event, which is left out: %s", _first_line(error))
            self._recovered()
            pause = FIRST_PAUSE
            with self._changed:
                if not self._abandoned:
                    self._events.popleft()
        self._store.close()

    def _next(self) -> Event | None:
        """The oldest event, which stays in the queue until it is delivered."""
        with self._changed:
            while not self._events and not self._closing:
                self._changed.wait()
            return None if self._abandoned or not self._events else self._events[0]

    def _wait_out(self, error: Exception, pause: float) -> None:
        if self._trouble is None:
            logger.warning(
                "MLflow at %s does not take events (%s); they wait in memory and the sweep goes on",
                self._uri,
                _first_line(error),
            )
        self._trouble = _first_line(error)
        with self._changed, contextlib.suppress(RuntimeError):
            self._changed.wait_for(lambda: self._abandoned, timeout=pause)

    def _recovered(self) -> None:
        if self._trouble is not None:
            logger.warning("MLflow at %s answers again; %d events are being delivered", self._uri, len(self._events))
            self._trouble = None


def _is_permanent(error: Exception) -> bool:
    """Whether trying again is pointless: the store itself refused what the event says, or the event is wrong."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.get_http_status_code() in PERMANENT  # type: ignore[no-untyped-call]
    return isinstance(error, TypeError | ValueError | KeyError | AttributeError | FileNotFoundError)


def _first_line(error: Exception) -> str:
    """The first line that says something: SQLAlchemy may begin with advice to whoever wrote the query."""
    lines = (line for line in str(error).splitlines() if not line.startswith("(raised as a result of"))
    return next(lines, "")[:300] or type(error).__name__
