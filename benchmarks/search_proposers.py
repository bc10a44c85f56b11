"""Who proposes the next cell of the table: a walked grid, a seer, the product's samplers, Ray Tune's Optuna search."""

from typing import Any, Protocol

import numpy as np
import optuna
from search_table import GOALS, OBJECTIVES, SETTINGS, Table

from orchestrator.search.samplers import create_sampler
from sweeps.schema.search import SearcherConfig
from sweeps.statistics.pareto import crowding, ranks

GRID, RAY, SEER = "grid", "Ray OptunaSearch", "seer"


class Proposer(Protocol):
    """Asked for cells, and told how their trials ended."""

    def propose(self, free: set[int]) -> int:
        """A row of ``free``."""
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

    def propose(self, free: set[int]) -> int:
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

    def propose(self, free: set[int]) -> int:
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

    def propose(self, free: set[int]) -> int:
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

    def propose(self, free: set[int]) -> int:
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


def proposer(name: str, table: Table, seed: int) -> Proposer:
    """The proposer of that name: ``grid``, ``seer``, ``Ray OptunaSearch``, or a sampler of the product as it comes."""
    if name == GRID:
        return Walk(table, seed)
    if name == SEER:
        return Seer(table, seed)
    if name == RAY:
        return RaySearch(table, seed)
    config = SearcherConfig.model_validate({"sampler": name, "seed": seed})
    return Sampled(table, create_sampler(config), seed)
