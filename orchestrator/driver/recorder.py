"""Ray Tune's callbacks as journal events, MLflow records and progress."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune

from orchestrator.record.answers import write_answers
from orchestrator.record.disk import once_there_is_room
from orchestrator.record.events import Event
from orchestrator.record.journal import Journal
from orchestrator.record.score_fields import REPORT, SELECT, finite, score_fields
from orchestrator.record.trials import Status, scaled_id
from orchestrator.search.searcher import FrontSearcher
from orchestrator.slots.messages import SCALE, Update

_FINAL = {
    "measured": Status.FINISHED,
    "failed": Status.FAILED,
    "stopped": Status.STOPPED,
    "pruned": Status.PRUNED,
}


class Recorder(tune.Callback):  # type: ignore[misc]
    """Writes every trial's start, reports and end, and what slots note, to the journal, then tells the listeners.

    Threads may call it: Tune's trials are heard on the main thread, notes and the end of a lost Ray on others.

    Args:
        journal: the sweep's journal.
        searcher: knows what each Tune trial is.
        take_answers: fetches the answers of a measured job, by its id.
        answers: folder for the answers.
        listeners: called with every event once it is in the journal.
    """

    def __init__(
        self,
        journal: Journal,
        searcher: FrontSearcher,
        take_answers: Callable[[str], list[dict[str, Any]]],
        answers: Path,
        listeners: Sequence[Callable[[Event], None]],
    ) -> None:
        self._journal = journal
        self._searcher = searcher
        self._take_answers = take_answers
        self._answers = answers
        self._listeners = listeners
        self._lock = threading.RLock()
        self._closed = False
        self._seen: set[tuple[str, str, int]] = set()
        """Id, kind and step of what trials under way have reported."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its tuner for a restore that we do from the journal."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial was handed to Ray."""
        proposal = self._searcher.proposals[trial.trial_id]
        fork = proposal.job.fork
        self._record(
            "trial_started",
            id=proposal.job.id,
            model=proposal.model,
            kind=proposal.kind,
            label=proposal.label,
            params=dict(proposal.params),
            trial=proposal.settings,
            replicate_of=proposal.replicate_of,
            arm=proposal.arm,
            **({} if fork is None else {"forked_from": {"trial": fork.trial, "step": fork.step}}),
        )

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial reported."""
        job_id = self._searcher.proposals[trial.trial_id].job.id
        for update in result["updates"]:
            self._take(job_id, update)

    def _take(self, job_id: str, update: Update) -> None:
        if update.final:
            if update.kind == "measured":
                self._keep_answers(job_id)
                self._record_scaled(job_id, update)
            self._end(job_id, _FINAL[update.kind], update)
        elif (job_id, update.kind, update.step) not in self._seen:  # a restarted actor or worker reports them again
            self._seen.add((job_id, update.kind, update.step))
            if update.kind == "forked":
                of = self._journal.state.trials[job_id].started.get("forked_from") or {}
                self._record("trial_forked", id=job_id, of=of.get("trial"), step=update.step)
            elif update.kind == "rung":
                self._record("trial_rung", id=job_id, step=update.step, **score_fields(update.scores))
            else:
                self._record("trial_reported", id=job_id, step=update.step, metrics=finite(update.scores.metrics))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial's actor died; its slot may be fine."""
        job_id = self._searcher.proposals[trial.trial_id].job.id
        update = Update("failed", error=f"the trial's actor died again and again; see {trial.error_file}")
        self._end(job_id, Status.FAILED, update)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial ended; one that ended without a final report was stopped from outside."""
        job_id = self._searcher.proposals[trial.trial_id].job.id
        self._end(job_id, Status.STOPPED, Update("stopped"))

    def note(self, sentence: str) -> None:
        """A slot has something to say."""
        self._record("note", text=sentence)

    def slots_lost(self, lost: int) -> None:
        """So many slots can do nothing at the moment; recorded where it is news."""
        if lost != self._journal.state.lost_slots:
            self._record("slots_lost", lost=lost)

    def slots_up(self, up: int) -> None:
        """So many slots hold their resources at the moment; recorded where it is news."""
        if up != self._journal.state.slots_up:
            self._record("slots_up", up=up)

    def close(self) -> None:
        """End what is still open, since the sweep itself was ended; nothing is recorded any more."""
        with self._lock:
            for trial in self._journal.state.under_way:
                self._end(trial.id, Status.STOPPED, Update("stopped"))
            self._closed = True

    def _end(self, job_id: str, status: Status, update: Update) -> None:
        state = self._journal.state
        with self._lock:
            if not state.is_under_way(job_id):
                return
            self._seen = {seen for seen in self._seen if seen[0] != job_id}
            self._record(
                "trial_ended",
                id=job_id,
                status=status,
                **score_fields(update.report),
                **score_fields(update.select, SELECT),
                error=update.error,
                reason=update.reason,
                **({"unprepared": True} if update.unprepared else {}),
            )
            model = state.trials[job_id].model
            if update.unprepared and model not in state.given_up:
                self._record("model_given_up", model=model, error=update.error)

    def _keep_answers(self, job_id: str) -> None:
        by_model: dict[str, list[dict[str, Any]]] = {}
        for row in self._take_answers(job_id):
            scale = row.pop(SCALE, None)
            by_model.setdefault(job_id if scale is None else scaled_id(job_id, scale), []).append(row)
        for name, answers in by_model.items():
            once_there_is_room(
                partial(write_answers, self._answers, name, answers), self._answers.parent, self._journal.on_full
            )

    def _record_scaled(self, job_id: str, update: Update) -> None:
        """What the trial's model scored at other scales, before its end, with which they count."""
        if not self._journal.state.is_under_way(job_id):
            return
        for one in update.scaled:
            halves = {REPORT: one.report, SELECT: one.select} if one.report.metrics else {}
            fields = {
                name: value for half, scores in halves.items() for name, value in score_fields(scores, half).items()
            }
            self._record(
                "trial_scaled", id=job_id, step=update.step, scale=one.scale, **score_fields(one.rung), **fields
            )

    def _record(self, event: str, **fields: Any) -> None:
        with self._lock:
            if self._closed:
                return
            entry = self._journal.append(event, **fields)
            for listener in self._listeners:
                listener(entry)
