"""References that an earlier sweep measured, by all that they depend on: the same need not be trained twice.

They lie in the user's cache folder, each under a hash of model, data, settings, evaluation, versions and the driver's
hardware. What has no hash, such as a set on the Hub, a task of lm-eval, or a judge or generator behind an address, may
change unseen: references that depend on it are measured every time.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from orchestrator.record.event_shapes import Shapes
from orchestrator.record.events import Event
from orchestrator.record.fingerprints import paths_of
from orchestrator.record.score_fields import score_fields
from orchestrator.record.sweep_state import SweepState
from orchestrator.record.trial_state import TrialState
from orchestrator.record.trials import Status, scaled_id
from orchestrator.search.value_identity import Measured
from sweeps.goals.course import course_steps
from sweeps.schema.spec import REFERENCES, SweepSpec
from training.config import ModelConfig
from training.models.template_date import prints_date
from training.organism.cache import cache_root

FRESH = "PROCON_FRESH"
"""Environment variable under which references are measured every time; ``0`` and nothing leave it."""
FOLDER, EVENTS = "baselines", "events.jsonl"
KEPT = 100
"""References that the cache keeps, the latest."""


@dataclass(frozen=True)
class Baseline:
    """A reference as an earlier sweep left it."""

    model: str
    """What this sweep calls its model."""
    label: str
    """``base``, ``ift`` or ``ift_safety``."""
    events: tuple[Event, ...]
    """From its start to its end, under this sweep's id."""
    answers: Mapping[str, Path]
    """Files of answers by the id that they are of here."""
    directory: str
    """The sweep that measured it."""
    day: date
    """When."""


def baseline_key(spec: SweepSpec, model: ModelConfig, label: str, manifest: Mapping[str, Any]) -> str | None:
    """What everything that a reference's values depend on comes to; None where some of it could change unseen.

    Args:
        spec: the sweep's.
        model: one of its models.
        label: which reference.
        manifest: what the sweep runs with.
    """
    paths = [path for source in spec.data.sources.values() for path in paths_of(source)]
    hashed = manifest.get("data", {})
    unseen = [path for path in paths if path not in hashed and not path.startswith("organism/")]
    evaluation = spec.evaluation
    elsewhere = evaluation.generator.type != "transformers" or evaluation.lm_eval is not None
    elsewhere |= any(judge.type == "endpoint" for judge in evaluation.judges)
    if unseen or elsewhere or not manifest.get("models", {}).get(model.name):
        return None
    if any(value is None for value in manifest.get("judges", {}).values()):
        return None
    measured = Measured.of(spec.model_dump(mode="json"), model.name, manifest)
    config = spec.reference_config(label)
    content = {
        "identity": replace(measured, dated=prints_date(model)).identity,
        "label": label,
        "trial": config.model_dump(mode="json") if config is not None else None,
        "like": [spec.trial.precision, spec.trial.tuning.type, spec.trial.zero_stage == 3],
        "course": course_steps(config.total_steps, spec.pruning) if config is not None else [],
        "scales": evaluation.derived_scales,
        "texts": evaluation.keeps_text(embedded=model.embedded),
        "workers": [spec.resources.workers, spec.resources.gpus_per_worker],
        "versions": manifest.get("versions"),
        "hardware": manifest.get("hardware"),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:32]


def find_baselines(spec: SweepSpec, manifest: Mapping[str, Any]) -> list[Baseline]:
    """The references of ``spec`` that an earlier sweep measured; a damaged one is passed over.

    None where the environment asks for fresh ones.
    """
    found: list[Baseline] = []
    if os.environ.get(FRESH, "0") not in ("", "0"):
        return found
    for model in spec.models:
        for label in REFERENCES:
            key = baseline_key(spec, model, label, manifest)
            if key is not None and (baseline := _read(cache_root() / FOLDER / key, model.name, label)) is not None:
                found.append(baseline)
    return found


def baselines_in_words(found: Sequence[Baseline]) -> Iterator[str]:
    """A sentence for every model."""
    for model in dict.fromkeys(one.model for one in found):
        own = [one for one in found if one.model == model]
        labels = ", ".join(one.label for one in own)
        yield (
            f"{labels} of {model}: measured before with the same model, data, settings, versions and hardware "
            f"(in {own[0].directory}, {own[0].day.isoformat()}) and taken from there; --fresh measures again"
        )


class BaselineStore:
    """Keeps every reference that a sweep has measured; a listener of its journal.

    Args:
        spec: the sweep's.
        manifest: what it runs with.
        state: what its journal tells.
        directory: its output folder.
        answers: the folder of its answers.
    """

    def __init__(
        self, spec: SweepSpec, manifest: Mapping[str, Any], state: SweepState, directory: Path, answers: Path
    ) -> None:
        self._spec, self._manifest, self._state = spec, manifest, state
        self._directory, self._answers = directory, answers

    def on_event(self, event: Event) -> None:
        """Hear of one event, which the state has taken in; a cache that cannot be written is passed over."""
        if event["event"] != "trial_ended" or event["status"] != Status.FINISHED:
            return
        trial = self._state.trials[event["id"]]
        model = next((one for one in self._spec.models if one.name == trial.model), None)
        if trial.started["kind"] != "reference" or trial.reused or model is None:
            return
        with contextlib.suppress(OSError):
            key = baseline_key(self._spec, model, trial.started["label"], self._manifest)
            if key is not None:
                self._keep(cache_root() / FOLDER / key, trial)

    def _keep(self, folder: Path, trial: TrialState) -> None:
        partial = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.partial")
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # texts of answers may be among them
        partial.mkdir()
        try:
            about = {"directory": str(self._directory), "time": time.time(), "id": trial.id}
            lines = [about, *_events_of(trial)]
            (partial / EVENTS).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
            for name in (trial.id, *(scaled_id(trial.id, scale) for scale in trial.scaled)):
                source = self._answers / f"{name}.parquet"
                if source.is_file():
                    shutil.copyfile(source, partial / f"answers{name.removeprefix(trial.id)}.parquet")
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        kept = sorted(folder.parent.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in kept[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)


def _events_of(trial: TrialState) -> Iterator[Event]:
    """What the journal says of ``trial``, each step once."""
    assert trial.ended is not None
    yield trial.started
    for step, metrics in sorted(trial.history.items()):
        yield {"event": "trial_reported", "id": trial.id, "time": trial.since, "step": step, "metrics": metrics}
    for step, rung in sorted(trial.rungs.items()):
        fields = score_fields(rung.scores)
        yield {"event": "trial_rung", "id": trial.id, "time": trial.since, "step": step, **fields}
    yield from trial.scaled.values()
    yield trial.ended


def _read(folder: Path, model: str, label: str) -> Baseline | None:
    try:
        about, *lines = (json.loads(line) for line in (folder / EVENTS).read_text(encoding="utf-8").splitlines())
        here, shapes = f"{model}-{label}", Shapes()
        events = [
            {**event, "id": here, "model": model} if "model" in event else {**event, "id": here} for event in lines
        ]
        if not events or any(shapes.fault(event) is not None for event in events):
            return None
        answers = {
            f"{here}{file.stem.removeprefix('answers')}": file for file in sorted(folder.glob("answers*.parquet"))
        }
        os.utime(folder)  # used lately
        return Baseline(
            model, label, tuple(events), answers, str(about["directory"]), date.fromtimestamp(about["time"])
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
