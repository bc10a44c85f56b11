"""What MLflow gets of a trial's measurements and of its place to the front, as metrics and tags (pure)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from orchestrator.front.pooling import Seeds, pooled
from orchestrator.front.schema.entry import Entry, TrialEntry
from orchestrator.record.trials import TrialRecord
from orchestrator.tracking.looks import COLOR, run_color

PARETO, SELECTED = "pareto", "selected"
"""Tags that say whether a trial is on the front, and whether the default rule chooses it."""
ON_FRONT, P_ON_FRONT = "front/on_front", "front/p_on_front"
"""The same as numbers, which charts and filters of metrics take."""
BY_LAYER = "/layer_"
"""Part of the name of a metric that each layer has."""


def final_metrics(record: TrialRecord) -> dict[str, float]:
    """Everything that was measured at the end, with the select prompts' values as ``select/…``.

    The others are of the report prompts, with the ends of their 95 % intervals as ``…_low`` and ``…_high``. What has a
    value by layer has it of the report prompts alone, and no select values are where prompts were not split.
    """
    values = dict(record.report.metrics)
    for name, (low, high) in pooled(Seeds(record), {}).intervals.items():
        values |= {f"{name}_low": low, f"{name}_high": high}
    select = {
        name: value for name, value in record.select.metrics.items() if BY_LAYER not in name and math.isfinite(value)
    }
    if any(value != record.report.metrics.get(name) for name, value in select.items()):
        values |= {f"select/{name}": value for name, value in select.items()}
    return values


@dataclass(frozen=True)
class Place:
    """How a trial stands to the front, and what its training seeds say together."""

    on_front: bool
    p_on_front: float | None = None
    """The probability to belong there; None where it is not known or below .005."""
    selected: bool = False
    over_seeds: Mapping[str, float] = field(default_factory=dict)
    """Values over all seeds with their intervals, where there are several."""

    @classmethod
    def of(cls, trial: TrialEntry, chosen: str | None) -> Self:
        """The place of ``trial``, where the default rule chooses the trial ``chosen``."""
        chance = round(trial.p_on_front or 0.0, 2) or None  # nearly all trials: they need not be written again
        return cls(trial.on_front, chance, trial.id == chosen, over_seeds(trial))

    def metrics(self) -> dict[str, float]:
        """What is logged of it."""
        known = {} if self.p_on_front is None else {P_ON_FRONT: float(self.p_on_front)}
        return {ON_FRONT: float(self.on_front), **known, **self.over_seeds}

    def tags(self, place_of_model: int) -> dict[str, str]:
        """The tags that say it, the colour among them."""
        color = run_color("trial", "", place_of_model, pale=not self.on_front)
        return {PARETO: str(self.on_front).lower(), SELECTED: str(self.selected).lower(), COLOR: color}


def over_seeds(entry: Entry) -> dict[str, float]:
    """``pooled/…`` with ``_low`` and ``_high`` of every metric with an interval; nothing of a single seed."""
    values: dict[str, float] = {}
    for name, (low, high) in entry.intervals.items() if entry.replicates > 1 else ():
        value = entry.metrics.get(name)
        if value is not None and math.isfinite(value):
            values |= {f"pooled/{name}": value, f"pooled/{name}_low": low, f"pooled/{name}_high": high}
    return values
