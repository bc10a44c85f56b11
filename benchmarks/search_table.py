"""The recorded factorial as a searcher meets it: cells, their distance from a proposal, and what each measured."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.slots.messages import Axis
from sweeps.goals.objectives import Objective
from sweeps.goals.pruning import PruningConfig, RungResult, rung_result
from sweeps.goals.rung_metrics import rung_goals
from sweeps.schema.load import load_spec
from sweeps.statistics.pareto import Goal, hypervolume
from training.config import TrialConfig, beginning, shared_steps
from training.config.measurement import TRAINED_SCALE
from training.evaluation.scores import Scores

SETTINGS = ("alpha", "warmup_steps", "layer", "safety_share")
OBJECTIVES = [
    Objective(metric="safety/attack_success_rate", goal="minimize"),
    Objective(metric="utility/accuracy", goal="maximize"),
]
GOALS: list[Goal] = [objective.goal for objective in OBJECTIVES]
REFERENCE = (1.0, 0.0)
REFERENCES = {-1: "base", -2: "ift", -3: "ift_safety"}
"""What a sweep measures before it searches, by what is in the place of a cell's number."""
HALVES = ("select", "report")
"""Of the prompts: what a search may see, and what fronts are shown on."""


@dataclass(frozen=True)
class Table:
    """One row per cell: its settings, its length, its measurements at steps on the way and at the end."""

    rows: list[dict[str, Any]]
    """Of training seed 0: what a search meets."""
    repeats: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    """Ends under other seeds, by row; only cells near the front have some."""
    base: dict[str, Any] | None = None
    """The model before training. A sweep measures it first: what it dominates is no gain of any search."""
    plain: list[dict[str, Any]] = field(default_factory=list)
    """Plain fine-tuning, and with safety data; their points are another arm's."""

    @classmethod
    def read(cls, path: Path) -> "Table":
        """The table that benchmarks/factorial.py wrote."""
        import pyarrow.parquet as pq

        everything = pq.read_table(path).to_pylist()
        first, *plain = (next((row for row in everything if row["trial"] == number), None) for number in REFERENCES)
        rows = [row for row in everything if row["seed"] == 0 and row["trial"] >= 0]
        places = {row["trial"]: place for place, row in enumerate(rows)}
        repeats: dict[int, list[dict[str, Any]]] = {}
        for row in everything:
            if row["seed"]:
                repeats.setdefault(places[row["trial"]], []).append(row)
        return cls(rows, repeats, first, [row for row in plain if row is not None])

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """``[rows, objectives]``, at the trials' ends on the prompts to select by: what a search is told."""
        return np.array([_rates([row], HALVES[:1]) for row in self.rows])

    @cached_property
    def worth(self) -> NDArray[np.float64]:
        """``[rows, objectives]``, on all prompts under all training seeds: what a search is scored by."""
        several = [[row, *self.repeats.get(number, [])] for number, row in enumerate(self.rows)]
        return np.array([_rates(rows, HALVES) for rows in several])

    @cached_property
    def whole(self) -> float:
        """Hypervolume of all rows and the base model."""
        return hypervolume([*self.worth, *self._known], GOALS, REFERENCE)

    @cached_property
    def _known(self) -> list[list[float]]:
        return [] if self.base is None else [_rates([self.base], HALVES)]

    @cached_property
    def levels(self) -> dict[str, list[Any]]:
        """Every value of each setting, ascending."""
        return {name: sorted({row[name] for row in self.rows}) for name in SETTINGS}

    @cached_property
    def places(self) -> NDArray[np.float64]:
        """``[rows, settings]``: index of each setting's value among its levels."""
        return np.array([[self.levels[name].index(row[name]) for name in SETTINGS] for row in self.rows], dtype=float)

    @property
    def steps(self) -> int:
        """Steps of all trials together."""
        return sum(int(row["steps"]) for row in self.rows)

    def share(self, finished: Iterable[int], scaled: Iterable[tuple[int, float]] = ()) -> float:
        """Hypervolume of some rows, and of scaled models of theirs, over that of all rows, with the base in both.

        Scaled models are not among the whole, so that a share may be larger than 1.
        """
        between = [self.scaled_worth(row, scale) for row, scale in scaled]
        return hypervolume([*self.worth[list(finished)], *between, *self._known], GOALS, REFERENCE) / self.whole

    @cached_property
    def scales(self) -> tuple[float, ...]:
        """Of the models between the untouched and the trained one of every row; none where nobody measured them."""
        end = f".{HALVES[0]}.{OBJECTIVES[0].metric}"
        names = [name.removesuffix(end) for name in self.rows[0] if name.endswith(end)]
        return tuple(sorted(float(name.removeprefix("scale")) for name in names if name.startswith("scale")))

    def scaled_worth(self, row: int, scale: float) -> list[float]:
        """``[objectives]`` of a scaled model on all prompts."""
        return _rates([self.rows[row]], HALVES, f"scale{scale:g}.")

    def seen(self, row: Mapping[str, Any], axes: Sequence[Axis], scale: float) -> Scores:
        """What the model at ``scale`` of a row, or the trained one (1), measures on the select prompts."""
        trained = scale == TRAINED_SCALE
        rung = f"rung{row['steps']}." if trained else f"scale{scale:g}.rung."
        values = _rates([row], HALVES[:1], "" if trained else f"scale{scale:g}.")
        found = {axis.rung: row[f"{rung}{axis.rung}"] for axis in axes}
        return Scores(found | {axis.metric: value for axis, value in zip(axes, values, strict=True)})

    @property
    def timed(self) -> bool:
        """Whether it says what measuring took."""
        return "seconds.measuring" in self.rows[0]

    @cached_property
    def look(self) -> float:
        """Price of one look at a scaled model by forward passes, in training steps: their seconds, medians."""
        return self._price("seconds.looking")

    @cached_property
    def measuring(self) -> float:
        """Price of measuring a model in full, in training steps: their seconds, medians."""
        return self._price("seconds.measuring")

    def _price(self, column: str) -> float:
        steps = [row["seconds.training"] / row["steps"] for row in self.rows]
        return float(np.median([row[column] for row in self.rows]) / np.median(steps))

    def place(self, drawn: Mapping[str, Any]) -> NDArray[np.float64]:
        """Where a proposal lies on the axes of ``places``: alpha between its levels, everything else on one."""
        alphas = np.log(self.levels["alpha"])
        step = (alphas[-1] - alphas[0]) / (len(alphas) - 1)
        rest = [self.levels[name].index(drawn[name]) for name in SETTINGS[1:]]
        return np.array([(np.log(drawn["alpha"]) - alphas[0]) / step, *rest])

    def nearest(self, drawn: Mapping[str, Any], free: Iterable[int], generator: np.random.Generator) -> int:
        """The row of ``free`` nearest to a proposal, at random among equals.

        Alpha, layer and share are ordered, with the whole of each axis as its unit; two warm-ups are a unit apart. In
        the continuous space of a real sweep the sampler would not repeat itself: here a cell it meets again gives way
        to the next one.
        """
        rows = np.fromiter(free, dtype=int)
        sizes = np.maximum([len(self.levels[name]) - 1 for name in SETTINGS], 1)
        apart = np.abs(self.places[rows] - self.place(drawn)) / sizes
        warmup = SETTINGS.index("warmup_steps")
        apart[:, warmup] = apart[:, warmup] > 0
        distance = (apart**2).sum(axis=1) + 1e-9 * generator.random(len(rows))
        return int(rows[distance.argmin()])

    @cached_property
    def shared(self) -> list[dict[int, int]]:
        """By row the steps that it shares with others, by their numbers: those that differ in their warm-up alone."""
        trials = self._trials()
        kin: dict[str, list[int]] = {}
        for row, trial in enumerate(trials):
            kin.setdefault(beginning(trial), []).append(row)
        return [
            {other: shared_steps(trial, trials[other]) for other in kin[beginning(trial)] if other != row}
            for row, trial in enumerate(trials)
        ]

    def _trials(self) -> list[TrialConfig]:
        """What every row trained: the preset ``demo`` with the row's settings."""
        spec = load_spec("demo")
        return [
            spec.trial_config(
                {
                    "constraint.alpha": row["alpha"],
                    "constraint.warmup_steps": row["warmup_steps"],
                    "constraint.layers": row["layer"],
                    "safety_share": row["safety_share"],
                    "steps": int(row["steps"]),
                }
            )
            for row in self.rows
        ]

    def rung(self, row: int, step: int, pruning: PruningConfig) -> RungResult:
        """What pruning looks at of a row's measurement at a recorded step."""
        cells, prefix = self.rows[row], f"rung{step}."
        metrics = {
            name.removeprefix(prefix): value
            for name, value in cells.items()
            if name.startswith(prefix) and not name.startswith((f"{prefix}error.", f"{prefix}total."))
        }
        totals = {name: cells.get(f"{prefix}total.{name}") for name in metrics}
        counts = {name: (round(metrics[name] * total), total) for name, total in totals.items() if total}
        errors = {name: cells[f"{prefix}error.{name}"] or 0.0 for name in metrics if f"{prefix}error.{name}" in cells}
        return rung_result(str(row), rung_goals(OBJECTIVES, pruning.metrics), Scores(metrics, counts, errors))


def counts_of(rows: Iterable[Mapping[str, Any]], halves: Iterable[str], metric: str) -> tuple[int, int]:
    """Successes and prompts of a rate at the ends of some trials, over some halves of the prompts."""
    found = [(row[f"{half}.{metric}"], row[f"{half}.total.{metric}"]) for row in rows for half in halves]
    return sum(successes for successes, _ in found), sum(total for _, total in found)


def _rates(rows: Sequence[Mapping[str, Any]], halves: Sequence[str], of: str = "") -> list[float]:
    names = [f"{of}{half}" for half in halves]
    return [successes / total for successes, total in (counts_of(rows, names, each.metric) for each in OBJECTIVES)]
