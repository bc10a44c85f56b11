"""An Optuna study over a search space: fields are drawn under conditions, and ends are told as what they are."""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna

from orchestrator.record.trials import Status, TrialRecord
from orchestrator.search.objective_values import objective_values
from orchestrator.search.samplers import GENERATION, create_sampler, distribution, suggest
from orchestrator.search.warm_start import values_at
from sweeps.schema.spec import SweepSpec
from sweeps.space.dimensions import Drawn
from sweeps.space.space import SearchSpace

State = optuna.trial.TrialState
REPEATS = "repeats"
"""User attribute of a draw that was not run, because its settings had been."""
TRIES, UNIFORM_TRIES = 10, 100


class TrialStudy:
    """Asks Optuna for trials, and tells it how they ended: several objectives, feasibility rules as constraints.

    Settings that were proposed before are not proposed again while there are others: that is for replicates.
    A trial without all objectives is told as PRUNED where it was pruned, else as FAIL; never as complete with made-up
    values.

    Args:
        spec: the sweep.
        space: of one of its models.
        model: which one.
        known: how many of its trials a journal knows already.
    """

    def __init__(self, spec: SweepSpec, space: SearchSpace, model: int, known: int) -> None:
        self._spec = spec
        self._space = space
        self._asked: dict[str, optuna.trial.Trial] = {}
        self._proposed: set[frozenset[tuple[str, Drawn]]] = set()
        self._completed = 0
        self._generator = np.random.default_rng([spec.searcher.seed, model, known])
        self.study = optuna.create_study(
            directions=[objective.goal for objective in spec.objectives],
            sampler=create_sampler(spec.searcher, model, known),
        )

    def ask(self, settings: Mapping[str, Any] | None = None) -> tuple[optuna.trial.Trial, dict[str, Any]]:
        """A trial to run, and its searched values: ``settings`` of the space, or what the sampler draws."""
        if settings is not None and self._is_new(settings):
            self.study.enqueue_trial(self._space.encode(settings))
        trial, params = self._draw()
        for _ in range(TRIES):
            if self._is_new(params):
                break
            self._discard(trial)
            trial, params = self._draw()
        if not self._is_new(params) and (other := self._uniform()) is not None:
            self._discard(trial)
            self.study.enqueue_trial(self._space.encode(other))
            trial, params = self._draw()
        self._proposed.add(self._key(self._space.encode(params)))
        return trial, params

    def tried(self, params: Mapping[str, Any]) -> bool:
        """Whether these settings of the space were proposed before."""
        return not self._is_new(params)

    def expect(self, trial_id: str, trial: optuna.trial.Trial) -> None:
        """The end of ``trial_id`` will be that of ``trial``."""
        self._asked[trial_id] = trial

    def tell(self, record: TrialRecord) -> None:
        """Tell how a trial that was asked for ended; others are none of Optuna's business."""
        trial = self._asked.pop(record.id, None)
        if trial is None:
            return
        state, values, constraints = self._outcome(record)
        for name, violation in constraints.items():
            trial.set_constraint(name, violation)
        self.study.tell(trial, values, state=state)

    def add(self, record: TrialRecord, ours: bool = True) -> bool:
        """Tell of a trial that ended before; false where a value lies outside the present ranges.

        Args:
            record: the trial.
            ours: whether this sweep ran it, and need not run it again.
        """
        drawn = self.drawn(record)
        if drawn is None:
            return False
        if ours:
            self._proposed.add(self._key(drawn))
        dimensions = self._space.dimensions()
        state, values, constraints = self._outcome(record)
        trial = optuna.trial.create_trial(
            state=state,
            values=values,
            params=drawn,
            distributions={name: distribution(dimensions[name]) for name in drawn},
            constraints=constraints,
            system_attrs=self._generation(state),
        )
        self.study.add_trial(trial)
        return True

    def drawn(self, record: TrialRecord) -> dict[str, Drawn] | None:
        """What the sampler would have drawn for ``record``; None where a value lies outside the present ranges."""
        try:
            return self._space.encode(values_at(record, self._space))
        except ValueError:
            return None

    def _draw(self) -> tuple[optuna.trial.Trial, dict[str, Any]]:
        trial = self.study.ask()
        return trial, self._space.draw(lambda name, dimension: suggest(trial, name, dimension))

    def _discard(self, trial: optuna.trial.Trial) -> None:
        trial.set_user_attr(REPEATS, True)
        self.study.tell(trial, state=State.FAIL)

    def _uniform(self) -> dict[str, Any] | None:
        """Settings drawn uniformly that were not proposed before; None where none was found."""
        axes = len(self._space.dimensions())
        draws = (self._space.at(self._generator.random(axes).tolist()) for _ in range(UNIFORM_TRIES))
        return next((params for params in draws if self._is_new(params)), None)

    def _is_new(self, params: Mapping[str, Any]) -> bool:
        return self._key(self._space.encode(params)) not in self._proposed

    @staticmethod
    def _key(drawn: Mapping[str, Drawn]) -> frozenset[tuple[str, Drawn]]:
        return frozenset(drawn.items())

    def _generation(self, state: State) -> dict[str, int]:
        """The generation of a trial that is added: the trials so far fill one after the other."""
        if state is not State.COMPLETE:
            return {}
        self._completed += 1
        return {GENERATION: (self._completed - 1) // self._spec.searcher.startup_trials}

    def _outcome(self, record: TrialRecord) -> tuple[State, list[float] | None, dict[str, float]]:
        values = objective_values(self._spec.objectives, record)
        if values is None:
            return (State.PRUNED if record.status is Status.PRUNED else State.FAIL), None, {}
        metrics = record.select.metrics
        violations = {str(rule): min(rule.violation(metrics), sys.float_info.max) for rule in self._spec.feasible}
        return State.COMPLETE, values, violations
