"""How far the refusal direction has turned, by decoder layer and step of one training, for the page (pure)."""

import math
from collections.abc import Mapping
from typing import Any

from orchestrator.front.schema.entry import Entry
from orchestrator.record.trials import TrialRecord
from orchestrator.report.plots.data import COSINE

Json = dict[str, Any]


def drift_data(entry: Entry, record: TrialRecord | None) -> Json | None:
    """Cosine with the direction before training, by layer and step, of the searched seed; None where none was measured.

    Args:
        entry: of the front, which knows the end alone.
        record: what was measured on the way; None where that is not known.

    Returns:
        ``steps``, ascending, the last of them null where it is not known; ``layers``; and ``cosines``, a row a layer.
    """
    measured: dict[int | None, Mapping[int, float]] = {}
    if record is not None:
        measured |= {rung.step: _by_layer(rung.scores.metrics) for rung in record.rungs}
        end = record.history[-1][0] if record.history else record.rungs[-1].step if record.rungs else None
        measured[end] = _by_layer(record.select.metrics) or measured.get(end, {})
    else:
        measured[None] = _by_layer(entry.metrics)
    measured = {step: values for step, values in measured.items() if values}
    if not measured:
        return None
    steps = sorted(measured, key=lambda step: math.inf if step is None else step)
    layers = sorted({layer for values in measured.values() for layer in values})
    cosines = [[_rounded(measured[step].get(layer)) for step in steps] for layer in layers]
    return {"steps": steps, "layers": layers, "cosines": cosines}


def _by_layer(metrics: Mapping[str, float | None]) -> dict[int, float]:
    found = {int(name.removeprefix(COSINE)): value for name, value in metrics.items() if name.startswith(COSINE)}
    return {layer: value for layer, value in found.items() if value is not None and math.isfinite(value)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
