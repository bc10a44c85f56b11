"""Models of one or several sweeps side by side, each in units of what its own fine-tuning lost and gained (pure)."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.front.basis import Basis, Compared, basis
from orchestrator.front.carried import carried
from orchestrator.front.choice import choose, parsed
from orchestrator.front.membership import standings
from orchestrator.front.pooling import Pooled, mean_metrics
from orchestrator.front.resampled import Array, Resampled
from orchestrator.front.schema.comparison import (
    AtUtility,
    Lead,
    ModelComparison,
    NormalisedModel,
    NormalisedPoint,
    Uncertain,
)
from sweeps.goals.objectives import Objective
from sweeps.statistics.intervals import central_interval
from sweeps.statistics.normalised import knee, reflected_interval, share, unit_hypervolume
from sweeps.statistics.posterior import PairedDraws

LEVELS = (0.5, 0.7, 0.8, 0.9, 1.0)
"""Shares of the task gain at which models are compared."""
START, END = "ift", "base"
"""Plain fine-tuning, which lost all and gained all, and the untouched model."""


def compare(compared: Sequence[Compared], rule: str | None = None) -> ModelComparison:
    """The models side by side.

    Args:
        compared: at least one; names must be distinct.
        rule: by which a trial of each is chosen; None takes the default for the two objectives compared.

    Raises:
        ComparisonError: they have nothing in common to be compared on.
        RuleError: the rule cannot be read.
    """
    found = basis(compared)
    source = PairedDraws()
    models = [_Model(one, found, source) for one in compared]
    objectives = [found.safety, found.utility]
    metrics = list(dict.fromkeys(metric for one in compared for metric in one.model.metrics))
    labels = list(dict.fromkeys(label for one in compared for label in one.model.references))
    shown = []
    for one in models:
        asked = parsed(rule, objectives, one.compared.spec.feasible, metrics, labels)
        choice = choose(asked, objectives, one.compared.model.trials, one.compared.model.references, one.resampled)
        shown.append(one.shown(choice.trial, choice.keeps))
    same_rules = all(one.spec.feasible == compared[0].spec.feasible for one in compared)
    shared = parsed(rule, objectives, compared[0].spec.feasible if same_rules else (), metrics, labels)
    shown.sort(key=lambda model: -math.inf if model.hypervolume is None else -model.hypervolume.value)
    shown.sort(key=lambda model: model.hypervolume is None)
    by_name = {model.compared.name: model for model in models}
    able = [by_name[model.name] for model in shown if model.hypervolume is not None]
    return ModelComparison(
        safety=found.safety.metric,
        utility=found.utility.metric,
        rule=str(shared),
        basis=found.sentences,
        models=tuple(shown),
        leads=tuple(_leads(able)),
        settings=tuple(carried([(by_name[m.name].compared, m) for m in shown if m.front])),
    )


@dataclass(frozen=True)
class _Member:
    """A member of the front in its model's own units."""

    pooled: Pooled
    select: tuple[float, float]
    """(safety regained, task gain kept) on the select prompts."""
    report: tuple[float, float]
    draws: Array
    """``[draws, 2]`` on the report prompts."""


class _Model:
    """One model in its own units."""

    def __init__(self, compared: Compared, found: Basis, source: PairedDraws) -> None:
        self.compared = compared
        self.resampled = Resampled(compared.answers, source, found.only, compared.sweep or "")
        self._objectives = (found.safety, found.utility)
        self._references = compared.model.references
        self.note = self._why_not()
        self.members: list[_Member] = []
        if self.note is None:
            rules = compared.spec.feasible
            chosen = [s.record.id for s in standings(self._objectives, rules, compared.model.records) if s.on_front]
            trials = {p.record.id: p for p in compared.model.trials}
            self.members = [member for trial in chosen if (member := self._member(trials[trial])) is not None]
            self.members.sort(key=lambda member: -member.report[0])
            if not self.members:
                self.note = "No trial is on its front."

    def shown(self, chosen: str | None, kept: bool) -> NormalisedModel:
        """What is said of it."""
        one, name = self.compared, self.compared.name
        if self.note is not None:
            return NormalisedModel(name=name, sweep=one.sweep, model=one.model.name, note=self.note)
        bend = knee([member.select for member in self.members])
        safety_data = self._references.get("ift_safety")
        beside = self._member(safety_data) if safety_data is not None else None
        return NormalisedModel(
            name=name,
            sweep=one.sweep,
            model=one.model.name,
            lost=self._difference(self._objectives[0]),
            gained=self._difference(self._objectives[1]),
            hypervolume=self._hypervolume(),
            front=tuple(_point(member, member.pooled.record.id) for member in self.members),
            reference=_point(beside, "ift_safety") if beside is not None else None,
            knee=self.members[bend].pooled.record.id if bend is not None else None,
            chosen=chosen,
            kept=kept if chosen is not None else None,
            at=tuple(self._at(level) for level in LEVELS if self.best_at(level) is not None),
        )

    def best_at(self, level: float) -> _Member | None:
        """The member that regains most safety among those that keep ``level`` of the task gain, by select prompts."""
        able = [member for member in self.members if member.select[1] >= level]
        return max(able, key=lambda member: member.select[0], default=None)

    def _at(self, level: float) -> AtUtility:
        best = self.best_at(level)
        assert best is not None
        return AtUtility(level=level, id=best.pooled.record.id, safety=_uncertain(best.report[0], best.draws[:, 0]))

    def _hypervolume(self) -> Uncertain:
        value = float(unit_hypervolume([member.report for member in self.members]))
        low, high = reflected_interval(value, unit_hypervolume(np.stack([m.draws for m in self.members], axis=1)))
        return Uncertain(value=value, low=low, high=high)

    def _why_not(self) -> str | None:
        missing = [label for label in (END, START) if label not in self._references]
        if missing:
            return f"Its reference {' and '.join(missing)} was not measured, so that there is nothing to compare with."
        for objective, verb in zip(self._objectives, ("lost no safety", "gained nothing on the task"), strict=True):
            found = self._difference(objective)
            if found is None:
                return f"{objective.metric} has no known error, so that its shares would have none either."
            if found.low <= 0:
                return (
                    f"Plain fine-tuning {verb} that could be told from chance ({objective.metric}: {found}), so that "
                    "shares of it would mean nothing."
                )
        return None

    def _difference(self, objective: Objective) -> Uncertain | None:
        """How much safety plain fine-tuning lost, or how much utility it gained."""
        sign = -1 if objective.goal == "minimize" else 1
        better, worse = (END, START) if objective is self._objectives[0] else (START, END)
        ours, theirs = (self._references[label].seeds for label in (better, worse))
        drawn = [self.resampled.draws(seeds, objective.metric) for seeds in (ours, theirs)]
        if drawn[0] is None or drawn[1] is None:
            return None
        value = self.resampled.value(ours, objective.metric) - self.resampled.value(theirs, objective.metric)
        return _uncertain(sign * value, sign * (drawn[0] - drawn[1]))

    def _member(self, pooled: Pooled) -> _Member | None:
        select, report, draws = [], [], []
        for objective, (zero, one) in zip(self._objectives, ((START, END), (END, START)), strict=True):
            metric = objective.metric
            three = [pooled, self._references[zero], self._references[one]]
            drawn = [self.resampled.draws(p.seeds, metric) for p in three]
            if drawn[0] is None or drawn[1] is None or drawn[2] is None:
                return None
            select.append(float(share(*(_selected(p, metric) for p in three))))
            report.append(float(share(*(self.resampled.value(p.seeds, metric) for p in three))))
            draws.append(share(drawn[0], drawn[1], drawn[2]))
        if not all(map(math.isfinite, [*select, *report])):
            return None
        return _Member(pooled, (select[0], select[1]), (report[0], report[1]), np.stack(draws, axis=1))


def _leads(models: Sequence[_Model]) -> list[Lead]:
    found = []
    for one, two in itertools.combinations(models, 2):
        for level in LEVELS:
            ours, theirs = one.best_at(level), two.best_at(level)
            if ours is None and theirs is None:
                continue
            first, second = one, two
            if ours is None or (theirs is not None and theirs.report[0] > ours.report[0]):
                first, second, ours, theirs = two, one, theirs, ours
            assert ours is not None
            difference = None
            if theirs is not None:
                difference = _uncertain(ours.report[0] - theirs.report[0], ours.draws[:, 0] - theirs.draws[:, 0])
            found.append(
                Lead(level=level, first=first.compared.name, second=second.compared.name, difference=difference)
            )
    return found


def _point(member: _Member, name: str) -> NormalisedPoint:
    safety, utility = (_uncertain(member.report[column], member.draws[:, column]) for column in (0, 1))
    return NormalisedPoint(id=name, safety=safety, utility=utility, params=member.pooled.record.params)


def _selected(pooled: Pooled, metric: str) -> float:
    return mean_metrics([seed.select.metrics for seed in pooled.seeds], [metric]).get(metric, math.nan)


def _uncertain(value: float, draws: Array) -> Uncertain:
    low, high = central_interval(draws[np.isfinite(draws)])
    return Uncertain(value=value, low=low, high=high)
