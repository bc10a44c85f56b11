"""``procon export``: the chosen model of a sweep as a folder to use, with a card of what was measured on it."""

import contextlib
import io
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.commands.model_card import model_card
from orchestrator.errors import OutputError
from orchestrator.front.front_file import read_front
from orchestrator.front.schema.entry import Entry, TrialEntry
from orchestrator.record.atomic import write_text
from orchestrator.record.folder import CHECKPOINTS, JOURNAL, named, possible, short_path
from orchestrator.record.journal import read_journal, records
from orchestrator.record.recorded_trial import RecordedTrial, recorded_trial
from orchestrator.record.sweep_state import SweepState
from orchestrator.record.trials import TrialRecord
from sweeps.schema.spec import REFERENCES
from training.config import AdapterTuning, TrialConfig
from training.models.located import model_path
from training.secrets import without_secrets
from training.storage.address import address_of
from training.storage.bucket import Bucket
from training.storage.checkpoints import fetch_latest

if TYPE_CHECKING:
    from orchestrator.tracking.registry import Registration
    from training.loop.export import Form


@dataclass(frozen=True)
class Exported:
    """What was written."""

    directory: Path
    trial: str
    form: "Form"
    registered: str | None = None
    """As which version of which registered model, such as ``llama3-safe version 2``."""
    alias: str | None = None
    """The alias that the version got; a trial off the front gets none."""

    def as_json(self) -> dict[str, str]:
        """What ``procon export --json`` prints."""
        told = {"directory": str(self.directory), "trial": self.trial, "form": self.form}
        return told | {name: value for name in ("registered", "alias") if (value := getattr(self, name)) is not None}


def export_trial(
    directory: Path, trial: str, to: Path, *, merged: bool, register_as: str | None = None, uri: str | None = None
) -> Exported:
    """Write the weights that the sweep in ``directory`` keeps of ``trial``, as transformers and PEFT load them.

    Nothing is trained or measured again: the weights come from the trial's last checkpoint.

    Args:
        directory: a sweep's output folder.
        trial: id of a finished trial.
        to: a new or empty folder.
        merged: adapters are merged into the model; a fully tuned model is whole anyway.
        register_as: name of a registered model in MLflow that gets the weights as its newest version; None for none.
        uri: of the store to register in; None takes where ``procon run`` would track the sweep.

    Raises:
        OutputError: no such trial, none of its weights are kept, or ``to`` is taken.
        TrackingError: the store cannot be used, or does not take the version.
        TrainingError: the weights cannot be read, or adapters not be merged.
    """
    chosen = recorded_trial(directory, trial)
    if chosen.trial is None:
        raise OutputError(
            f"--trial ({trial!r}) is the untouched model {chosen.model.path}: choose one that was trained"
        )
    checkpoint = _checkpoint(chosen, chosen.trial)
    if possible(to, "--to").exists() and (not to.is_dir() or any(to.iterdir())):
        raise OutputError(f"--to ({to}) exists and is not empty: choose another folder")
    place = _place(chosen, register_as, uri) if register_as is not None else None
    form: Form = "adapter" if isinstance(chosen.trial.tuning, AdapterTuning) and not merged else "model"
    entry = _measured(chosen)
    card = model_card(chosen, form, entry, _measured_references(chosen))
    try:
        to.absolute().parent.mkdir(parents=True, exist_ok=True)
        _write(chosen, chosen.trial, checkpoint, to.absolute(), form)
        write_text(to / "README.md", card)  # in place of the one that PEFT writes
    except OSError as error:
        raise OutputError(f"--to ({to}) cannot be written: {error.strerror or error}") from error
    if place is None:
        return Exported(to, trial, form)
    from orchestrator.tracking.registry import ALIAS, register

    on_front = isinstance(entry, TrialEntry) and entry.on_front
    version, _ = register(place, to, card, _version_tags(chosen, entry), on_front=on_front)
    return Exported(to, trial, form, f"{place.name} version {version}", ALIAS if on_front else None)


def _place(chosen: RecordedTrial, name: str, uri: str | None) -> "Registration":
    """Where the weights are to be registered.

    Raises:
        TrackingError: they cannot be.
    """
    from orchestrator.driver.sync import runs_in
    from orchestrator.tracking.registry import check_registration
    from orchestrator.tracking.store import default_tracking_uri

    store = uri or default_tracking_uri(chosen.directory)[0]
    known = runs_in(chosen.directory, SweepState.of(read_journal(chosen.directory / JOURNAL)), store)
    named = f" --uri {without_secrets(store)}" if uri else ""
    advice = f"procon sync {short_path(chosen.directory)}{named} brings the sweep there"
    return check_registration(name, store, known.get(chosen.record.id), advice)


def _version_tags(chosen: RecordedTrial, entry: Entry | None) -> dict[str, str]:
    """The sweep, the trial, its objectives and the digests of its data."""
    from orchestrator.tracking.inputs import SweepData

    metrics = entry.metrics if entry is not None else chosen.record.report.metrics
    tags = {"procon.sweep": chosen.spec.name, "procon.trial": chosen.record.id, "procon.model": chosen.model.name}
    for objective in chosen.spec.objectives:
        value = metrics.get(objective.metric)
        tags |= {f"objective.{objective.metric}": f"{value:.4g}"} if value is not None else {}
    digests = SweepData(chosen.spec, chosen.manifest).digests(chosen.record)
    return tags | {f"data.{name}": digest for name, digest in digests.items()}


def _checkpoint(chosen: RecordedTrial, trial: TrialConfig) -> Path:
    """The checkpoint after the trial's last step.

    Raises:
        OutputError: it is not kept.
    """
    from training.loop.checkpointing import latest
    from training.loop.names import MANIFEST_FILE

    kept = chosen.directory / CHECKPOINTS / chosen.record.trained
    name = named(chosen.directory)
    shown = f"{name}/{CHECKPOINTS}/{chosen.record.trained}"
    if (address := address_of(chosen.directory)) is None:
        found = latest(kept)
    else:
        found = fetch_latest(Bucket(address), f"{CHECKPOINTS}/{chosen.record.trained}", kept)
    again = f"procon reproduce {name} --trial {chosen.record.id} trains it again and keeps the weights"
    if found is None or not (found / MANIFEST_FILE).is_file():
        raise OutputError(f"{shown} holds no weights of --trial ({chosen.record.id!r}): see keep.checkpoints; {again}")
    step = json.loads((found / MANIFEST_FILE).read_text(encoding="utf-8"))["step"]
    if step < trial.total_steps:
        raise OutputError(f"{found} is of step {step} of {trial.total_steps}, not of the trained model: {again}")
    return found


def _write(chosen: RecordedTrial, trial: TrialConfig, checkpoint: Path, to: Path, form: "Form") -> None:
    from training.distributed.process import device_of_process

    if device_of_process().type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed warns that it had to guess
    from training.loop.export import export, trained_model_of
    from training.models.loading import load_model, load_tokenizer

    path = model_path(chosen.model, chosen.spec.data)
    model = load_model(path, trial.precision)
    with contextlib.redirect_stdout(io.StringIO()):  # DeepSpeed tells how it puts a checkpoint together
        trained = trained_model_of(checkpoint, model, chosen.record.scale)
    if to.is_dir():
        shutil.rmtree(to)  # empty, as was seen before
    export(trained, load_tokenizer(path), to, form=form, precision=trial.precision if form == "model" else None)


def _measured(chosen: RecordedTrial) -> Entry | None:
    """The trial's entry in the front, whose values are pooled over replicates; None where it has none of its own."""
    record, body = chosen.record, read_front(chosen.directory).models[chosen.record.model]
    if record.kind == "reference":
        return {**body.reference, **(body.scaled_references or {})}.get(record.label)
    return next((trial for trial in body.trials if trial.id == record.id), None)


def _measured_references(chosen: RecordedTrial) -> dict[str, TrialRecord]:
    """The untouched model and the plain trainings that this one is to be compared with, by label."""
    everything = records(read_journal(chosen.directory / JOURNAL))
    own = [record for record in everything if record.model == chosen.record.model and record.kind == "reference"]
    measured = {record.label: record for record in own if record.report.metrics and record.id != chosen.record.id}
    return {label: measured[label] for label in REFERENCES if label in measured}
