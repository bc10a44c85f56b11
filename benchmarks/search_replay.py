"""Replays of the table: trials run side by side on two slots, and are stopped at rungs as they would be live."""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from search_proposers import Proposer
from search_table import GOALS, OBJECTIVES, Table

from orchestrator.slots.messages import Axis, ScalingJob
from orchestrator.slots.scaling import known_of, worthwhile
from sweeps.goals.pruning import PruningConfig, RungResult, decide, rung_steps
from sweeps.goals.rung_metrics import rung_goals
from sweeps.statistics.pareto import non_dominated
from training.config.measurement import TRAINED_SCALE

SLOTS = 2
ENOUGH = 0.99
"""A replay ends once its finished trials have this share of the table's hypervolume."""
Verdict = Callable[[int, int], bool]
"""Of row and step: whether the trial is stopped there."""


@dataclass(frozen=True)
class Rungs:
    """At which steps a trial is looked at, and who decides."""

    steps: tuple[int, ...]
    stops: Verdict


@dataclass
class Replay:
    """What one search did."""

    curve: list[tuple[float, float]] = field(default_factory=list)
    """(steps spent on all slots so far, share of the table's hypervolume) after every finished trial."""
    finished: list[int] = field(default_factory=list)
    pruned: list[int] = field(default_factory=list)
    spent: float = 0
    """Steps of all slots, those of trials stopped after the last finished one included, and the price of scaled models
    in steps."""
    prices: list[float] = field(default_factory=list)
    """By point of the curve: the same and the price of all rungs and ends, in steps."""
    scaled: list[tuple[int, float]] = field(default_factory=list)
    """Row and scale of the models between the untouched and a trained one that were measured in full."""

    def steps_to(self, share: float) -> float:
        """Steps spent until the finished trials had that share; infinite where they never did."""
        return next((float(steps) for steps, reached in self.curve if reached >= share - 1e-12), float("inf"))

    def price_to(self, share: float) -> float:
        """The same with all that was measured on the way at its price; infinite where nobody timed it."""
        reached = (price for price, (_, got) in zip(self.prices, self.curve, strict=False) if got >= share - 1e-12)
        return next(reached, float("inf"))


def replay(
    table: Table,
    search: Proposer,
    rungs: Rungs | None = None,
    enough: float = ENOUGH,
    *,
    forks: bool = False,
    scales: bool = False,
) -> Replay:
    """Run ``search`` over the table until it has ``enough`` of the hypervolume or every row was proposed.

    Args:
        table: the recorded trials; all have the same length.
        search: proposes rows, and learns of ends as they come.
        rungs: where trials may be stopped; none lets all finish.
        enough: share of the table's hypervolume.
        forks: whether a row that shares its first steps with an earlier one costs the rest alone.
        scales: whether of a finished row the models between the untouched and the trained one are measured, those that
            the product would ask for answers, each at its price.
    """
    shared = Shared(table) if forks else None
    scaled = Scaled(table) if scales else None
    free, done = set(range(len(table.rows))), Replay()
    total = int(table.rows[0]["steps"])
    stops = (*(rungs.steps if rungs else ()), total)
    started = looks = 0
    events: list[tuple[float, int, int, int, int]] = []  # clock, order of start, row, which of the stops, first step

    def start(clock: float) -> None:
        nonlocal started
        if free:
            row = search.propose(free, shared.start if shared else _first)
            free.discard(row)
            started += 1
            first = shared.begin(row) if shared else 0
            heapq.heappush(events, (clock + max(0, stops[0] - first), started, row, 0, first))

    for _ in range(SLOTS):
        start(0)
    while events:
        clock, number, row, index, first = heapq.heappop(events)
        step = stops[index]
        done.spent += max(0, step - max(first, stops[index - 1] if index else 0))
        if shared:
            shared.reach(row, step)
        looks += step != total
        if step == total:
            done.finished.append(row)
            search.end(row, table.values[row].tolist())
            if scaled:
                chosen, price = scaled.measure(row)
                done.scaled += [(row, scale) for scale in chosen]
                done.spent += price
                clock += price
            done.curve.append((done.spent, table.share(done.finished, done.scaled)))
            if table.timed:
                done.prices.append(done.spent + looks * table.look + len(done.finished) * table.measuring)
            if done.curve[-1][1] >= enough - 1e-12:
                break
            start(clock)
        elif rungs and rungs.stops(row, step):
            done.pruned.append(row)
            search.end(row, None)
            start(clock)
        else:
            later = clock + max(0, stops[index + 1] - max(step, first))
            heapq.heappush(events, (later, number, row, index + 1, first))
    return done


def _first(_row: int) -> int:
    return 0


class Shared:
    """Which rows were run how far, and from where another may begin.

    Args:
        table: the recorded trials.
    """

    def __init__(self, table: Table) -> None:
        self._shared = table.shared
        self._reached: dict[int, int] = {}

    def start(self, row: int) -> int:
        """Steps that a row, were it started now, would not train itself."""
        found = 0
        for other, shared in self._shared[row].items():
            reached = self._reached.get(other, 0)
            points = (point for point in self._shared[other].values() if point <= shared and point < reached)
            found = max(found, *points, 0)
        return found

    def begin(self, row: int) -> int:
        """:meth:`start` of a row that is started now."""
        self._reached[row] = found = self.start(row)
        return found

    def reach(self, row: int, step: int) -> None:
        """A row has done so many steps."""
        self._reached[row] = max(step, self._reached[row])


class Scaled:
    """Which scaled models of finished rows are measured: the product's choice, of what it knows by then.

    Args:
        table: the recorded trials.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        goals = rung_goals(OBJECTIVES, {})
        self._axes = tuple(
            Axis(objective.metric, objective.goal, rung, rising=goal == objective.goal)
            for objective, (rung, goal) in zip(OBJECTIVES, goals, strict=True)
        )
        self._known: list[tuple[tuple[float, ...], tuple[float, ...]]] = []
        for row in table.plain:
            for scale in (*table.scales, TRAINED_SCALE):
                self._know(row, scale)
        self._references = len(self._known)

    def measure(self, row: int) -> tuple[list[float], float]:
        """The scales of a finished row that are measured in full, and what that costs in steps, looks included."""
        table, cells = self._table, self._table.rows[row]
        values = [objectives for _, objectives in self._known[self._references :]]  # references are another arm's
        best = non_dominated(values, GOALS) if values else ()
        rivals = tuple(value for value, first in zip(values, best, strict=True) if first)
        seen = {scale: table.seen(cells, self._axes, scale) for scale in (*table.scales, TRAINED_SCALE)}
        chosen = worthwhile(ScalingJob(table.scales, self._axes, tuple(self._known), rivals), seen)
        for scale in (TRAINED_SCALE, *chosen):
            self._know(cells, scale)
        return chosen, len(table.scales) * table.look + len(chosen) * table.measuring

    def _know(self, row: Mapping[str, Any], scale: float) -> None:
        one = known_of(self._axes, self._table.seen(row, self._axes, scale))
        self._known.append((one.rungs, one.objectives))


def pruned_by(table: Table, pruning: PruningConfig) -> Rungs:
    """The product's pruning."""
    goals = [goal for _, goal in rung_goals(OBJECTIVES, pruning.metrics)]
    seen: dict[int, list[RungResult]] = {}

    def stops(row: int, step: int) -> bool:
        new, others = table.rung(row, step, pruning), seen.setdefault(step, [])
        prune = decide(new, others, goals, pruning).prune
        others.append(new)
        return prune

    return Rungs(rung_steps(pruning, int(table.rows[0]["steps"])), stops)


def stopped_by_asha(table: Table, step: int, metric: str, mode: str) -> Rungs:
    """Ray Tune's ASHA, which knows one metric, with one rung at ``step``, driven without a cluster."""
    from types import SimpleNamespace

    from ray.tune.schedulers import AsyncHyperBandScheduler

    total = int(table.rows[0]["steps"])
    scheduler = AsyncHyperBandScheduler(
        time_attr="step", metric=metric, mode=mode, grace_period=step, max_t=total, reduction_factor=3
    )

    def stops(row: int, step: int) -> bool:
        trial = SimpleNamespace(trial_id=str(row))
        scheduler.on_trial_add(None, trial)
        result = {"step": step, metric: table.rows[row][f"rung{step}.{metric}"]}
        return bool(scheduler.on_trial_result(None, trial, result) == scheduler.STOP)

    return Rungs((step,), stops)
