"""One trial of a recorded sweep: what it was, what it scored, and the specification it ran under."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.errors import OutputError
from orchestrator.record.events import Event
from orchestrator.record.folder import JOURNAL, SPEC, named
from orchestrator.record.history import recorded_manifest, recorded_spec
from orchestrator.record.journal import read_journal
from orchestrator.record.sweep_state import SweepState
from orchestrator.record.trial_ids import whole_id
from orchestrator.record.trials import Status, TrialRecord
from sweeps.schema.spec import SweepSpec
from training.config import ModelConfig, TrialConfig


@dataclass(frozen=True)
class RecordedTrial:
    """A finished trial as its sweep left it."""

    directory: Path
    spec: SweepSpec
    manifest: dict[str, Any]
    """What the sweep ran with."""
    record: TrialRecord
    trial: TrialConfig | None
    """Its settings; None for the untouched base model."""
    day: date | None
    """That its prompts were of; None where the journal does not tell."""

    @property
    def model(self) -> ModelConfig:
        """What it was trained from."""
        return next(model for model in self.spec.models if model.name == self.record.model)


def recorded_trial(directory: Path, trial: str) -> RecordedTrial:
    """The finished trial with the id ``trial`` of the sweep in ``directory``.

    Raises:
        OutputError: there is no sweep or no such trial, it did not finish, or this version does not understand it.
    """
    events = read_journal(directory / JOURNAL)
    state = SweepState.of(events)
    found = {record.id: record for record in state.records()}
    trial = whole_id(trial, list(found), f"is not in {named(directory)}")
    record = found[trial]
    if record.status is not Status.FINISHED:
        raise OutputError(
            f"--trial ({trial!r}) is {record.status} in {named(directory)}: only a FINISHED one was measured"
        )
    try:
        config = TrialConfig.model_validate(record.trial) if record.trial is not None else None
    except ValidationError as error:
        raise OutputError(
            f"--trial ({trial!r}) was recorded by a version whose settings this one does not understand "
            f"({error.errors()[0]['msg']}): use the version that {SPEC} names"
        ) from error
    # A sweep that was resumed may have gone on with a changed specification, or on another machine.
    end = max(number for number, event in enumerate(events) if _ends(event, record.trained))
    then = SweepState.of(events[:end])
    spec = recorded_spec(then, directory)
    return RecordedTrial(directory, spec, recorded_manifest(then, directory), record, config, state.day)


def _ends(event: Event, trial: str) -> bool:
    return bool(event["event"] == "trial_ended" and event["id"] == trial)
