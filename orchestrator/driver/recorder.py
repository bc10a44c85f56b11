"""Ray Tune's callbacks as journal events, MLflow records and progress."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ray import tune

from orchestrator.record.answers import write_answers
from orchestrator.record.disk import once_there_is_room
from orchestrator.record.journal import Event, Journal
from orchestrator.record.score_fields import SELECT, finite, score_fields
from orchestrator.record.trials import Status
from orchestrator.search.searcher import FrontSearcher
from orchestrator.slots.messages import Update

_FINAL = {
    "measured": Status.FINISHED,
    "failed": Status.FAILED,
    "stopped": Status.STOPPED,
    "pruned": Status.PRUNED,
}


class Recorder(tune.Callback):  # type: ignore[misc]
    """Writes every trial's start, reports and end to the journal, then tells the listeners.

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
        self._open: dict[str, str] = {}
        """Model by id of what was handed out and has not ended."""
        self._given_up: set[str] = set()
        self._seen: set[tuple[str, str, int]] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its tuner for a restore that we do from the journal."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial was handed to Ray."""
        proposal = self._searcher.proposals[trial.trial_id]
        self._open[proposal.job.id] = proposal.model
        self._record(
            "trial_started",
            id=proposal.job.id,
            model=proposal.model,
            kind=proposal.kind,
            label=proposal.label,
            params=dict(proposal.params),
            trial=proposal.settings,
            replicate_of=proposal.replicate_of,
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
            self._end(job_id, _FINAL[update.kind], update)
        elif (job_id, update.kind, update.step) not in self._seen:  # a restarted actor or worker reports them again
            self._seen.add((job_id, update.kind, update.step))
            if update.kind == "rung":
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

    def close(self) -> None:
        """End what is still open: the sweep itself was ended."""
        for job_id in sorted(self._open):
            self._end(job_id, Status.STOPPED, Update("stopped"))

    def _end(self, job_id: str, status: Status, update: Update) -> None:
        if job_id not in self._open:
            return
        model = self._open.pop(job_id)
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
        if update.unprepared and model not in self._given_up:
            self._given_up.add(model)
            self._record("model_given_up", model=model, error=update.error)

    def _keep_answers(self, job_id: str) -> None:
        answers = self._take_answers(job_id)
        if answers:
            once_there_is_room(
                lambda: write_answers(self._answers, job_id, answers), self._answers.parent, self._journal.on_full
            )

    def _record(self, event: str, **fields: Any) -> None:
        entry = self._journal.append(event, **fields)
        for listener in self._listeners:
            listener(entry)
