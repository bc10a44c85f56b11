"""Response surfaces of the page: an objective over two searched settings, by the trials there are (pure)."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.front.schema.document import ModelFront
from orchestrator.front.schema.entry import TrialEntry
from orchestrator.report.plots.data import STRENGTH
from sweeps.statistics.response import FEWEST, response_surface

CELLS = (24, 16)
"""Columns and rows."""
MOST = 120
"""Trials that a surface is made of, taken evenly from all: more would take seconds and change little."""
SETTINGS = 3
"""How many settings are looked at, the strength first, then layers and warm-up, then the others."""
_FIRST = (STRENGTH, "constraint.layers", "constraint.warmup_steps")
_WIDE = 20
"""A range of positive values that is wider than this factor is drawn by its logarithm."""

Array = NDArray[np.float64]


def surfaces(body: ModelFront, metrics: Sequence[str], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """A surface for every objective over every pair of the first settings; empty where there are too few trials.

    Args:
        body: of one model.
        metrics: the objectives.
        names: short names of settings by path.

    Returns:
        each with ``metric``; ``x`` and ``y`` (``name``, ``low``, ``high``, ``log``); rows of ``mean`` and
        ``deviation``, the lowest y first; ``spread``, the deviation far from every trial; ``trials``, how many there
        were.
    """
    finished = [trial for trial in body.searched if trial.feasible is not None]
    found = []
    for first, second in itertools.islice(itertools.combinations(_settings(finished), 2), 2):
        sides = _Side.of(first, finished, names), _Side.of(second, finished, names)
        for metric in metrics:
            known = [
                trial
                for trial in finished
                if all(map(_is_number, (trial.params.get(first), trial.params.get(second), trial.metrics.get(metric))))
            ]
            if len(known) >= FEWEST:
                found.append(_surface(known[:: math.ceil(len(known) / MOST)], metric, *sides))
    return found


class _Side:
    """One setting as an axis from 0 to 1."""

    def __init__(self, path: str, name: str, low: float, high: float) -> None:
        self.path, self.name, self.low, self.high = path, name, low, high
        self.log = low > 0 and high / low > _WIDE

    @classmethod
    def of(cls, path: str, trials: Sequence[TrialEntry], names: Mapping[str, str]) -> "_Side":
        values = [float(trial.params[path]) for trial in trials if _is_number(trial.params.get(path))]
        return cls(path, names.get(path, path), min(values), max(values))

    def place(self, trial: TrialEntry) -> float:
        value = float(trial.params[self.path])
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "low": self.low, "high": self.high, "log": self.log}


def _surface(trials: Sequence[TrialEntry], metric: str, x: _Side, y: _Side) -> dict[str, Any]:
    columns, rows = ((np.arange(count) + 0.5) / count for count in CELLS)
    grid = np.array([(column, row) for row in rows for column in columns])
    places = np.array([(x.place(trial), y.place(trial)) for trial in trials])
    values = np.array([trial.metrics[metric] for trial in trials], dtype=np.float64)
    found = response_surface(places, values, grid)

    def cells(values: Array) -> list[list[float]]:
        return [[float(f"{value:.4g}") for value in row] for row in values.reshape(len(rows), len(columns))]

    return {
        "metric": metric,
        "x": x.as_json(),
        "y": y.as_json(),
        "mean": cells(found.mean),
        "deviation": cells(found.deviation),
        "spread": float(f"{found.spread:.4g}"),
        "trials": len(trials),
    }


def _settings(trials: Sequence[TrialEntry]) -> list[str]:
    """Paths of settings with three numbers or more, those of the constraint first."""
    paths = dict.fromkeys([*_FIRST, *(path for trial in trials for path in trial.params)])
    numbers = {path: [v for trial in trials if _is_number(v := trial.params.get(path))] for path in paths}
    usable = [path for path, found in numbers.items() if len(found) >= FEWEST and len(set(found)) >= 3]
    return usable[:SETTINGS]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
