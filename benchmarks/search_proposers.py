"""Who proposes the next cell of the table: a walked grid, a seer, the product's samplers, Ray Tune's Optuna search."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import optuna
from search_table import GOALS, OBJECTIVES, SETTINGS, Table

from orchestrator.search.forks import EVERY
from orchestrator.search.samplers import create_sampler
from sweeps.schema.forks import AFTER
from sweeps.schema.search import SearcherConfig
from sweeps.statistics.pareto import crowding, non_dominated, ranks

GRID, RAY, SEER = "grid", "Ray OptunaSearch", "seer"

Start = Callable[[int], int]


class Proposer(Protocol):
    """Asked for cells, and told how their trials ended."""

    def propose(self, free: set[int], start: Start) -> int:
        """A row of ``free``; ``start`` says how many steps a row would share with earlier ones."""
        ...

    def end(self, row: int, values: list[float] | None) -> None:
        """The objectives of a row that finished; none of one that was stopped at a rung."""
        ...


class Walk:
    """Walks the grid axis by axis. Which axis turns slowest, and from which end, is a matter of taste: so of the seed.

    (The product's own ``grid`` comes shuffled, which here is the same as random.)
    """

    def __init__(self, table: Table, seed: int) -> None:
        generator = np.random.default_rng(seed)
        axes = generator.permutation(len(SETTINGS))
        ends = generator.choice([-1.0, 1.0], len(SETTINGS))
        self._order = iter(np.lexsort((table.places * ends)[:, axes].T).tolist())

    def propose(self, free: set[int], start: Start) -> int:
        """The next row of the walk."""
        return next(row for row in self._order if row in free)

    def end(self, row: int, values: list[float] | None) -> None:
        """Nothing is learnt."""


class Seer:
    """Knows beforehand what every cell will measure, and takes the best first: by non-domination rank, then crowding.

    No search can: what it still needs is the price of measurements that one training seed made.
    """

    def __init__(self, table: Table, seed: int) -> None:
        rank, distance = ranks(table.values, GOALS), crowding(table.values, GOALS)
        ties = np.random.default_rng(seed).random(len(rank))
        self._order = iter(np.lexsort((ties, -distance, rank)).tolist())

    def propose(self, free: set[int], start: Start) -> int:
        """The next best row."""
        return next(row for row in self._order if row in free)

    def end(self, row: int, values: list[float] | None) -> None:
        """Nothing is left to learn."""


class Sampled:
    """A sampler of the product: what it draws is moved to the nearest free cell, and it learns of that cell."""

    def __init__(self, table: Table, sampler: optuna.samplers.BaseSampler, seed: int) -> None:
        self._table = table
        self._study = optuna.create_study(directions=[each.goal for each in OBJECTIVES], sampler=sampler)
        self._distributions = distributions(table)
        self._running: dict[int, optuna.trial.Trial] = {}
        self._generator = np.random.default_rng(seed)

    def propose(self, free: set[int], start: Start) -> int:
        """The free row nearest to what the sampler draws."""
        trial = self._study.ask(self._distributions)
        row = self._table.nearest(trial.params, free, self._generator)
        self._running[row] = trial
        return row

    def end(self, row: int, values: list[float] | None) -> None:
        """The draw itself was never run: it is withdrawn, and the cell told in its place."""
        trial = self._running.pop(row)
        kept = self._study.get_trials(deepcopy=False)[trial.number].system_attrs  # NSGA-II's generation
        self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        state = optuna.trial.TrialState.PRUNED if values is None else optuna.trial.TrialState.COMPLETE
        params = {name: self._table.rows[row][name] for name in SETTINGS}
        self._study.add_trial(
            optuna.trial.create_trial(
                state=state, values=values, params=params, distributions=self._distributions, system_attrs=dict(kept)
            )
        )


class Forking(Sampled):
    """The product's sampler, and in between forks of trials on the front, the cheapest first."""

    def __init__(self, table: Table, config: SearcherConfig) -> None:
        super().__init__(table, create_sampler(config), config.seed)
        self._after = AFTER * config.startup_trials
        self._proposed = 0
        self._finished: dict[int, list[float]] = {}

    def propose(self, free: set[int], start: Start) -> int:
        """A fork where it is time for one."""
        self._proposed += 1
        if self._proposed > self._after and (self._proposed - 1) % EVERY == 0:
            best = non_dominated(list(self._finished.values()), GOALS)
            front = {self._trajectory(row) for row, first in zip(self._finished, best, strict=True) if first}
            costs = [
                (-shared, self._generator.random(), row)
                for row in sorted(free)
                if self._trajectory(row) in front and (shared := start(row)) > 0
            ]
            if costs:
                row = min(costs)[2]
                self._running[row] = self._study.ask(self._distributions)
                return row
        return super().propose(free, start)

    def end(self, row: int, values: list[float] | None) -> None:
        """Remember what is on the front."""
        if values is not None:
            self._finished[row] = values
        super().end(row, values)

    def _trajectory(self, row: int) -> tuple[float, ...]:
        return tuple(np.delete(self._table.places[row], SETTINGS.index("warmup_steps")).tolist())


class RaySearch:
    """Ray Tune's ``OptunaSearch`` with both objectives and its default sampler, driven without a cluster.

    It is told as Tune tells it: the last result, which of a stopped trial has none of the objectives.
    """

    def __init__(self, table: Table, seed: int) -> None:
        from ray.tune.search.optuna import OptunaSearch

        self._table = table
        self._search = OptunaSearch(
            distributions(table),
            metric=[each.metric for each in OBJECTIVES],
            mode=[each.goal[:3] for each in OBJECTIVES],
            seed=seed,
        )
        self._proposed: dict[int, str] = {}
        self._generator = np.random.default_rng(seed)

    def propose(self, free: set[int], start: Start) -> int:
        """The free row nearest to what the search suggests."""
        drawn: dict[str, Any] = self._search.suggest(str(len(self._proposed)))
        row = self._table.nearest(drawn, free, self._generator)
        self._proposed[row] = str(len(self._proposed))
        return row

    def end(self, row: int, values: list[float] | None) -> None:
        """Tell as Tune does."""
        result = {} if values is None else dict(zip([each.metric for each in OBJECTIVES], values, strict=True))
        self._search.on_trial_complete(self._proposed[row], {"training_iteration": 1, **result})


def distributions(table: Table) -> dict[str, optuna.distributions.BaseDistribution]:
    """The table's axes as the preset ``demo`` searches them.

    Alpha is drawn half a level beyond its ends, so that every level is nearest to an equal part of the draws.
    """
    levels = table.levels
    alphas = levels["alpha"]
    half = (alphas[-1] / alphas[0]) ** (0.5 / max(len(alphas) - 1, 1))
    return {
        "alpha": optuna.distributions.FloatDistribution(alphas[0] / half, alphas[-1] * half, log=True),
        "warmup_steps": optuna.distributions.CategoricalDistribution(levels["warmup_steps"]),
        "layer": optuna.distributions.IntDistribution(levels["layer"][0], levels["layer"][-1]),
        "safety_share": optuna.distributions.CategoricalDistribution(levels["safety_share"]),
    }


def proposer(name: str, table: Table, seed: int, *, forks: bool = False) -> Proposer:
    """The proposer of that name: ``grid``, ``seer``, ``Ray OptunaSearch``, or a sampler of the product as it comes.

    Args:
        name: of it.
        table: what it proposes rows of.
        seed: of its draws.
        forks: whether a sampler that learns tries forks in between.
    """
    if name == GRID:
        return Walk(table, seed)
    if name == SEER:
        return Seer(table, seed)
    if name == RAY:
        return RaySearch(table, seed)
    config = SearcherConfig.model_validate({"sampler": name, "seed": seed})
    return Forking(table, config) if forks else Sampled(table, create_sampler(config), seed)
