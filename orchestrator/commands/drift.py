"""``procon direction DIR``: how the refusal direction drifts while a sweep's trials train, from its journal."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import OutputError
from orchestrator.record.folder import JOURNAL, create_output, named
from orchestrator.record.journal import read_journal, records
from orchestrator.record.trial_ids import whole_id
from orchestrator.record.trials import TrialRecord
from orchestrator.report.plots.direction import write_drift_png
from orchestrator.report.plots.heat_maps import HeatMap
from training.config import TrialConfig

PICTURE = "drift.png"
_COSINE = re.compile(r"^direction/cosine/layer_(\d+)$")


@dataclass(frozen=True)
class Drift:
    """Cosine between a trial's re-extracted direction and that before training."""

    id: str
    label: str
    model: str
    steps: tuple[int, ...]
    """Optimizer steps done, ascending."""
    cosines: tuple[tuple[float, ...], ...]
    """One tuple per decoder layer, one value per step; NaN where there was no direction any more."""


@dataclass(frozen=True)
class DrawnDrift:
    """What was drawn, and where."""

    picture: Path
    drifts: tuple[Drift, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain numbers; NaN becomes null."""
        rows = [asdict(drift) for drift in self.drifts]
        for row in rows:
            row["cosines"] = [[None if math.isnan(value) else value for value in layer] for layer in row["cosines"]]
        return {"picture": str(self.picture), "trials": rows}


def is_sweep(argument: str) -> bool:
    """Whether ``argument`` is a folder, and not a specification."""
    return Path(argument).is_dir()


def draw_drift(directory: Path, ids: Sequence[str], out: str | Path | None) -> DrawnDrift:
    """Draw one heat map (layer by step) per trial.

    Args:
        directory: of a sweep, which may still be running.
        ids: of trials; an empty list takes the references that are trained.
        out: an empty or new folder; None writes ``drift.png`` into ``directory``.

    Raises:
        OutputError: there is no sweep, no such trial, or no trial with drift.
    """
    found = {record.id: record for record in records(read_journal(directory / JOURNAL))}
    wanted = [whole_id(name, list(found), f"is not in {named(directory)}") for name in ids]
    chosen = wanted or [record.id for record in found.values() if record.kind == "reference" and record.trial]
    untouched = {record.model: record.report.metrics for record in found.values() if record.label == "base"}
    made = [drift_of(found[name], untouched.get(found[name].model, {})) for name in chosen]
    drifts = tuple(drift for drift in made if drift is not None)
    if not drifts:
        raise OutputError(f"{named(directory)} has no measured drift of {', '.join(chosen) or 'any trial'} yet")
    picture = (create_output(out, "drift") if out is not None else directory) / PICTURE
    write_drift_png([drift_map(drift) for drift in drifts], "Drift of the refusal direction in training", picture)
    return DrawnDrift(picture, drifts)


def drift_of(record: TrialRecord, untouched: Mapping[str, float]) -> Drift | None:
    """The drift of one trial at its rungs and its end; None where none was measured.

    Args:
        record: of a trial that trains.
        untouched: metrics of the untouched model, which stand at step 0; empty where it was not measured.
    """
    measured = {rung.step: rung.scores.metrics for rung in record.rungs}
    if record.report.metrics and record.trial is not None:
        measured[TrialConfig.model_validate(record.trial).total_steps] = record.report.metrics
    if untouched:
        measured[0] = dict(untouched)
    by_step = {step: _cosines(metrics) for step, metrics in sorted(measured.items()) if _cosines(metrics)}
    if not by_step:
        return None
    layers = sorted(set().union(*by_step.values()))
    cosines = tuple(tuple(values.get(layer, math.nan) for values in by_step.values()) for layer in layers)
    return Drift(record.id, record.label, record.model, tuple(by_step), cosines)


def _cosines(metrics: Mapping[str, float]) -> dict[int, float]:
    found = ((_COSINE.match(name), value) for name, value in metrics.items())
    return {int(match[1]): math.nan if value is None else value for match, value in found if match}


def drift_map(drift: Drift) -> HeatMap:
    """The heat map of ``drift``, the last layer on top."""
    name = drift.id if drift.label == drift.id else f"{drift.label} ({drift.id})"
    depth = len(drift.cosines)
    return HeatMap(
        f"{drift.model}, {name}: cosine with the direction before training",
        tuple(f"layer {layer}" for layer in reversed(range(depth))),
        tuple(str(step) for step in drift.steps),
        drift.cosines[::-1],
        min(0.0, *(value for layer in drift.cosines for value in layer if not math.isnan(value))),
        1.0,
        "viridis",
        "{:.2f}",
    )
