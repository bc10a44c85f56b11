"""Optuna's ask and tell as a Ray Tune searcher: references first, then searched trials, model by model."""

import math
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from ray.tune.search import Searcher

from orchestrator.broker import Job
from sweeps.space import CategoricalDimension, Dimension, FloatDimension, SearchSpace
from sweeps.spec import REFERENCES, SearcherConfig, SweepSpec
from training.config import ModelConfig


@dataclass(frozen=True)
class Proposal:
    """One trial to run: what the journal records of it, and the job a slot gets."""

    model: str
    kind: str
    label: str
    params: Mapping[str, Any]
    job: Job


@dataclass
class _ModelSearch:
    """The search over one model's trials."""

    model: ModelConfig
    space: SearchSpace
    study: optuna.Study
    references: deque[str] = field(default_factory=deque)
    asked: int = 0


class FrontSearcher(Searcher):  # type: ignore[misc]
    """Proposes trials and learns from how they end; several objectives, feasibility rules as Optuna constraints.

    A trial without all objectives is told to Optuna as FAIL, never as complete with made-up values.

    Args:
        spec: the sweep.
        depths: decoder layers by model name.
        address: ``broker`` and ``namespace`` that trials connect to.
    """

    def __init__(self, spec: SweepSpec, depths: Mapping[str, int], address: Mapping[str, str]) -> None:
        super().__init__()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._spec = spec
        self._address = dict(address)
        self._searches = [
            _ModelSearch(model, spec.space(depths[model.name]), _study(spec), deque(REFERENCES))
            for model in spec.models
        ]
        self._asked: dict[str, tuple[_ModelSearch, optuna.trial.Trial]] = {}
        self._stopping = False
        self.proposals: dict[str, Proposal] = {}
        """What was proposed, by Tune's trial id."""

    @property
    def total(self) -> int:
        """All jobs of the sweep: references and searched trials of every model."""
        return len(self._searches) * (len(REFERENCES) + self._spec.trials)

    def stop(self) -> None:
        """Propose nothing more."""
        self._stopping = True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's Tune configuration, or ``Searcher.FINISHED``."""
        if self._stopping:
            return str(Searcher.FINISHED)
        for search in self._searches:
            if search.references:
                return self._propose(trial_id, self._reference(search, search.references.popleft()))
            if search.asked < self._spec.trials:
                return self._propose(trial_id, self._searched(search, trial_id))
        return str(Searcher.FINISHED)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing is learnt before a trial ends."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell Optuna how the trial ended."""
        search, trial = self._asked.pop(trial_id, (None, None))
        if search is None or trial is None:
            return
        update = (result or {}).get("update", {})
        metrics = update.get("metrics", {}) if update.get("kind") == "measured" else {}
        values = [metrics.get(objective.metric, math.nan) for objective in self._spec.objectives]
        if error or any(not math.isfinite(value) for value in values):
            search.study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return
        for rule in self._spec.feasible:
            trial.set_constraint(str(rule), min(rule.violation(metrics), sys.float_info.max))
        search.study.tell(trial, values)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its tuner for a restore that we do from the journal."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the record from which a search is rebuilt."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the record from which a search is rebuilt."""

    def _propose(self, trial_id: str, proposal: Proposal) -> dict[str, Any]:
        self.proposals[trial_id] = proposal
        return {**self._address, "job": proposal.job}

    def _reference(self, search: _ModelSearch, label: str) -> Proposal:
        config = self._spec.reference_config(label)
        dumped = config.model_dump() if config is not None else None
        job = Job(f"{search.model.name}-{label}", search.model.model_dump(), dumped)
        return Proposal(search.model.name, "reference", label, {}, job)

    def _searched(self, search: _ModelSearch, trial_id: str) -> Proposal:
        trial = search.study.ask({name: _distribution(d) for name, d in search.space.dimensions().items()})
        self._asked[trial_id] = (search, trial)
        params = search.space.decode(trial.params)
        job_id = f"{search.model.name}-{search.asked:0{len(str(self._spec.trials - 1))}d}"
        search.asked += 1
        job = Job(job_id, search.model.model_dump(), self._spec.trial_config(params).model_dump())
        return Proposal(search.model.name, "trial", job_id, params, job)


def _study(spec: SweepSpec) -> optuna.Study:
    directions = [objective.goal for objective in spec.objectives]
    return optuna.create_study(directions=directions, sampler=_sampler(spec.searcher))


def _sampler(config: SearcherConfig) -> optuna.samplers.BaseSampler:
    if config.sampler == "random":
        return optuna.samplers.RandomSampler(seed=config.seed)
    if config.sampler == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=config.seed)
    return optuna.samplers.TPESampler(
        seed=config.seed,
        n_startup_trials=config.startup_trials,
        multivariate=True,
        constant_liar=True,  # trials run side by side: keep the second away from what the first is trying
    )


def _distribution(dimension: Dimension) -> optuna.distributions.BaseDistribution:
    if isinstance(dimension, FloatDimension):
        return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)
    if isinstance(dimension, CategoricalDimension):
        return optuna.distributions.CategoricalDistribution(dimension.choices)
    return optuna.distributions.IntDistribution(dimension.low, dimension.high, step=dimension.step)
