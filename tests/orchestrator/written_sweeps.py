"""Imagined sweeps as folders: journal and answers, as a driver would have left them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.record.answers import write_answers
from orchestrator.record.folder import ANSWERS, JOURNAL
from orchestrator.record.journal import Journal
from orchestrator.record.score_fields import SELECT, score_fields
from orchestrator.record.trials import Status, TrialRecord
from sweeps.schema.load import load_spec
from sweeps.schema.spec import SweepSpec


def demo_spec(models: Iterable[str] = ("organism",), *settings: str) -> SweepSpec:
    """The demo with its rules and objectives, over models of these names."""
    named = ", ".join(f"{{name: {name}, path: organism}}" for name in models)
    return load_spec("demo", [f"models=[{named}]", *settings])


def write_sweep(
    directory: Path,
    spec: SweepSpec,
    records: Iterable[TrialRecord],
    answers: Mapping[str, list[dict[str, Any]]] | None = None,
) -> Path:
    """A folder whose journal tells of ``records``, finished ones with their ``answers``."""
    directory.mkdir(parents=True, exist_ok=True)
    journal = Journal(directory / JOURNAL)
    journal.append("sweep_started", spec=spec.model_dump(mode="json"), manifest={"versions": {}, "git": None})
    default = spec.trial.model_dump(mode="json")
    for one in records:
        trial = None if one.label == "base" else {**(one.trial if one.kind == "trial" and one.trial else default)}
        if trial is not None:
            trial["seed"] = one.seed or 0
        described = {"id": one.id, "model": one.model, "kind": one.kind, "label": one.label, "params": one.params}
        journal.append("trial_started", **described, trial=trial, replicate_of=one.replicate_of)
        for rung in one.rungs:
            journal.append("trial_rung", id=one.id, step=rung.step, **score_fields(rung.scores))
        for step, metrics in one.history:
            journal.append("trial_reported", id=one.id, step=step, metrics=metrics)
        if one.status is Status.RUNNING:
            continue
        scores = score_fields(one.report) | score_fields(one.select, SELECT)
        journal.append("trial_ended", id=one.id, status=str(one.status), error=one.error, reason=one.reason, **scores)
    journal.append("sweep_ended", interrupted=False, reason=None)
    journal.close()
    for trial, rows in (answers or {}).items():
        write_answers(directory / ANSWERS, trial, rows)
    return directory
