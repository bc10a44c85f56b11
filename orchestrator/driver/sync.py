"""``procon sync``: a sweep's runs, figures and front in any MLflow store, rebuilt from its journal."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.driver.mirror import Mirror
from orchestrator.errors import OutputError
from orchestrator.front.front_file import read_front
from orchestrator.record.folder import JOURNAL, named, short_name, write_json
from orchestrator.record.history import recorded_manifest, recorded_spec
from orchestrator.record.journal import read_journal
from orchestrator.record.lock import driver_lives
from orchestrator.record.separations import separations_of
from orchestrator.record.sweep_state import SweepState
from orchestrator.report.files import write_report
from orchestrator.tracking.store import check_tracking, default_tracking_uri
from sweeps.schema.spec import SweepSpec
from training.secrets import without_secrets

RUNS = "mlflow-runs.json"
"""Which run stands for what, by store: the journal knows only the runs of the store that the sweep was driven with."""
PATIENCE = 3600.0
"""Seconds that MLflow may take."""


@dataclass(frozen=True)
class Synced:
    """What was delivered."""

    uri: str
    """Without the login that may be in it."""
    experiment: str | None
    """Its id; None where the store was not reached."""
    trials: int
    undelivered: int
    """Events that the store did not take."""

    def as_json(self) -> dict[str, Any]:
        """What ``procon sync --json`` prints."""
        return vars(self)


@dataclass
class _Replayed:
    """A sweep that nobody drives, as a mirror wants it."""

    directory: Path
    spec: SweepSpec
    manifest: Mapping[str, Any]
    state: SweepState
    tracking_uri: str
    artifacts: str | None
    depths: Mapping[str, int]
    since: float
    quiet: bool = True
    found: dict[str, str] = field(default_factory=dict)

    def remember(self, key: str, run_id: str) -> None:
        """Keep it for the file of runs."""
        self.found[key] = run_id


def sync(directory: Path, uri: str | None) -> Synced:
    """Bring the sweep in ``directory`` into a store, as if it had been driven with it; what is there already stays.

    Runs that an earlier call made are continued, and points that they hold are not written twice, so that it may be
    called again at any time. The report in the folder is written anew, by this version.

    Args:
        directory: a sweep's output folder that no driver is at work in.
        uri: MLflow tracking URI; None takes where ``procon run`` would track it.

    Raises:
        OutputError: there is no sweep, or a driver is at work in it, which delivers by itself.
        TrackingError: the store cannot be used.
    """
    events = read_journal(directory / JOURNAL)
    state = SweepState.of(events)
    if driver_lives(directory):
        raise OutputError(
            f"directory ({named(directory)}) has a driver at work, which delivers to MLflow itself: wait for it"
        )
    spec = recorded_spec(state, directory)
    default, location = default_tracking_uri(directory)
    chosen = uri or default
    check_tracking(chosen)
    shown = without_secrets(chosen)
    known = _read_runs(directory)
    state.runs = runs_in(directory, state, chosen)
    state.leave()
    records = state.records()
    replayed = _Replayed(
        directory,
        spec,
        {"versions": {}, "git": None, **recorded_manifest(state, directory)},
        state,
        chosen,
        location if chosen == default else None,
        _depths(directory, state, spec),
        state.began or 0.0,
    )
    front = read_front(directory)
    files = write_report(directory, spec.name, front, records, replayed.manifest)
    mirror = Mirror(replayed, front)
    mirror.replay(events)
    try:
        undelivered = mirror.finish(front, files, records, not state.complete, PATIENCE)
    finally:
        if replayed.found:
            write_json(directory / RUNS, {**known, shown: known.get(shown, {}) | replayed.found})
    return Synced(shown, mirror.experiment_id, len(records), undelivered)


def synced_in_words(found: Synced, directory: Path) -> str:
    """What to say of it."""
    if found.undelivered:
        again = f"procon sync {short_name(directory)} --uri {found.uri}"
        return f"{found.undelivered} events could not be delivered to {found.uri}; this tries them again: {again}"
    return f"{found.trials} trials and references are in MLflow at {found.uri}, experiment {found.experiment}."


def runs_in(directory: Path, state: SweepState, uri: str) -> dict[str, str]:
    """Which run stands for what in the store ``uri``, as far as is known in the sweep's folder.

    The journal knows it of the store that the sweep was driven with, :data:`RUNS` of others.
    """
    return state.runs | _read_runs(directory).get(without_secrets(uri), {})


def _read_runs(directory: Path) -> dict[str, dict[str, str]]:
    try:
        return dict(json.loads((directory / RUNS).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _depths(directory: Path, state: SweepState, spec: SweepSpec) -> dict[str, int]:
    """Decoder layers by model, of its direction or of what was measured by layer; at least 1."""
    by_direction = {model: len(values) for model, values in separations_of(directory, spec).items()}
    names = {(r.model, name) for r in state.records() for name in r.report.metrics if "/layer_" in name}
    by_metrics: dict[str, int] = {}
    for model, name in names:
        by_metrics[model] = max(by_metrics.get(model, 1), 1 + int(name.rsplit("_", 1)[-1]))
    return {model.name: by_direction.get(model.name, by_metrics.get(model.name, 1)) for model in spec.models}
