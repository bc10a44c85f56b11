"""Which trial of a model a rule chooses, how sure it is to keep the rule, and what it costs (pure).

Chosen on the select prompts, like the front; values, intervals and probabilities are of the report prompts. By these a
trial is passed over that is more likely to break the rule than to keep it, and chosen for nothing else.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from orchestrator.front.pooling import Pooled, mean_metrics
from orchestrator.front.resampled import Resampled
from orchestrator.front.schema.choice import Alternative, Bounded, Choice, Difference
from sweeps.goals.choice_rule import Aim, Bound, ChoiceRule, Sum
from sweeps.goals.objectives import FeasibilityRule, Objective
from sweeps.statistics.intervals import central_interval

ALLOWANCE = 0.02
"""By how much a trial may be behind the reference that the default rule compares it with."""
REFUSALS_OF_SAFE_PROMPTS = ("safety/over_refusal", "safety/harmless_refused")
RUNNERS_UP = 2
LIKELY = 0.5
"""Probability with which the chosen trial has to keep the rule where nobody asks for another."""
SURE = 0.9
"""Where the chosen trial keeps the rule with less than this probability, the best that does so with it is named too."""

Kind = Literal["reference", "passed over", "runner-up", "surer", "beyond the rule"]


def default_rule(objectives: Sequence[Objective], feasible: Sequence[FeasibilityRule]) -> ChoiceRule:
    """The rule where nobody gives one: the safest trial that does the task about as well as plain fine-tuning.

    Bounds are those of ``feasible``; objectives of safety are aims, but refusals of safe prompts no more than
    ``ALLOWANCE`` above the untouched model; every other objective is no more than that behind plain fine-tuning, and
    the first is the aim where no other is left.
    """
    bounds = [Bound(rule.metric, rule.comparison, Sum(rule.bound)) for rule in feasible]
    aims = []
    for objective in objectives:
        reference = _compared_with(objective.metric)
        if reference is None:
            aims.append(Aim(objective.metric, objective.goal))
        elif objective.goal == "maximize":
            bounds.append(Bound(objective.metric, ">=", Sum(-ALLOWANCE, ((1, reference),))))
        else:
            bounds.append(Bound(objective.metric, "<=", Sum(ALLOWANCE, ((1, reference),))))
    if not aims:
        bounds = [bound for bound in bounds if bound.metric != objectives[0].metric or not bound.bound.references]
        aims = [Aim(objectives[0].metric, objectives[0].goal)]
    return ChoiceRule(tuple(bounds), tuple(aims))


def _compared_with(metric: str) -> str | None:
    """The reference that an objective may not fall behind; None where it is an aim."""
    if metric.startswith(REFUSALS_OF_SAFE_PROMPTS):
        return "base"
    return None if metric.startswith("safety/") else "ift"


def parsed(
    text: str | None,
    objectives: Sequence[Objective],
    feasible: Sequence[FeasibilityRule],
    metrics: Collection[str],
    references: Collection[str],
) -> ChoiceRule:
    """The rule that ``text`` writes, with the default's aims where it names none; without a text the default.

    Raises:
        RuleError: it is none.
    """
    default = default_rule(objectives, feasible)
    return default if text is None else ChoiceRule.parse(text, metrics, references, default.aims)


@dataclass(frozen=True)
class _Candidate:
    """A trial or reference that measured what the rule asks for."""

    pooled: Pooled
    name: str
    select: Mapping[str, float]
    report: Mapping[str, float]
    keeps: bool
    violation: float
    """By how much its bounds are broken on the select prompts, in all."""


def choose(
    rule: ChoiceRule,
    objectives: Sequence[Objective],
    trials: Sequence[Pooled],
    references: Mapping[str, Pooled],
    resampled: Resampled,
    likely: float = LIKELY,
) -> Choice:
    """The trial of one model that ``rule`` chooses: the best of those that keep it, and are likely to by all we know.

    Where none of them is, it is the best of those that keep it on the select prompts, and the choice says so.

    Args:
        rule: of :func:`parsed`.
        objectives: decide between trials that are the same by the rule's aims.
        trials: searched trials; those that have not finished are passed over.
        references: measured references by label.
        resampled: draws of the report prompts.
        likely: probability with which it has to keep the rule, by the report prompts; 0 leaves these out.
    """
    missing = [label for label in rule.references if label not in references]
    if missing:
        return _none(rule, f"the rule compares with {' and '.join(missing)}, which was not measured for this model")
    asked = _Asked(rule, objectives, references, resampled)
    unmeasured = [
        f"{bound.metric} of {label}"
        for bound in rule.bounds
        for _, label in bound.bound.references
        if not math.isfinite(asked.select[label].get(bound.metric, math.nan))
    ]
    if unmeasured:
        return _none(rule, f"the rule compares with {' and '.join(unmeasured)}, which was not measured")
    candidates = [one for one in (asked.candidate(p, p.record.id) for p in trials) if one is not None]
    if not candidates:
        return _none(rule, f"no trial has finished with {' and '.join(rule.metrics)} measured")
    keepers = sorted((one for one in candidates if one.keeps), key=asked.rank)
    nearest = keepers[0] if keepers else min(candidates, key=lambda one: (one.violation, asked.rank(one)))
    chosen = asked.first(keepers, likely) or nearest
    sure = asked.sure(chosen.pooled)
    measured = (asked.candidate(pooled, label) for label, pooled in references.items())
    others: list[tuple[_Candidate, Kind]] = [(one, "reference") for one in measured if one is not None]
    if chosen is not nearest:
        others.append((nearest, "passed over"))
    following = keepers[keepers.index(chosen) + 1 :] if chosen.keeps else []
    others += [(one, "runner-up") for one in following[:RUNNERS_UP]]
    surer = asked.first(keepers, SURE) if sure is not None and sure < SURE else None
    if surer is not None:
        others = [*(other for other in others if other[0] is not surer), (surer, "surer")]
    beyond = [one for one in candidates if not one.keeps and asked.rank(one) < asked.rank(chosen)]
    if beyond:
        others.append((min(beyond, key=lambda one: (one.violation, asked.rank(one))), "beyond the rule"))
    return Choice(
        rule=str(rule),
        trial=chosen.name,
        keeps=chosen.keeps,
        sure=sure,
        likely=likely,
        finished=len(candidates),
        kept_by=len(keepers),
        metrics=dict(chosen.report),
        intervals=asked.intervals(chosen),
        bounds=tuple(asked.bounded(chosen, bound) for bound in rule.bounds),
        alternatives=tuple(asked.alternative(chosen, one, kind) for one, kind in others),
    )


def _none(rule: ChoiceRule, why: str) -> Choice:
    return Choice(
        rule=str(rule),
        keeps=False,
        sure=None,
        finished=0,
        kept_by=0,
        metrics={},
        intervals={},
        bounds=(),
        alternatives=(),
        note=f"There is no choice: {why}.",
    )


class _Asked:
    """One rule asked of one model."""

    def __init__(
        self,
        rule: ChoiceRule,
        objectives: Sequence[Objective],
        references: Mapping[str, Pooled],
        resampled: Resampled,
    ) -> None:
        self._rule, self._resampled = rule, resampled
        self._order = [*((aim.metric, aim.goal) for aim in rule.aims), *((o.metric, o.goal) for o in objectives)]
        self._selected_of = dict.fromkeys([*rule.metrics, *(objective.metric for objective in objectives)])
        self._references = {label: references[label] for label in rule.references}
        self.select = {label: self._selected(pooled) for label, pooled in self._references.items()}

    def candidate(self, pooled: Pooled, name: str) -> _Candidate | None:
        select = self._selected(pooled)
        report = {metric: pooled.report.metrics.get(metric, math.nan) for metric in self._rule.metrics}
        values = [*(select.get(metric, math.nan) for metric in self._rule.metrics), *report.values()]
        if not pooled.seeds or not all(map(math.isfinite, values)):
            return None
        slacks = [float(bound.slack(select[bound.metric], self._limits(bound))) for bound in self._rule.bounds]
        keeps = all(bool(b.kept_by(select[b.metric], self._limits(b))) for b in self._rule.bounds)
        return _Candidate(pooled, name, select, report, keeps, -sum(min(0.0, slack) for slack in slacks))

    def rank(self, one: _Candidate) -> tuple[float, ...]:
        """Smaller is better: aim after aim, then the objectives, by the select prompts."""
        worst = math.inf
        values = [(one.select.get(metric, worst), goal) for metric, goal in self._order]
        return tuple(-value if goal == "maximize" and value < worst else value for value, goal in values)

    def first(self, keepers: Sequence[_Candidate], likely: float) -> _Candidate | None:
        """The first of ``keepers`` that keeps the rule with the probability ``likely``, as far as that is known.

        One that breaks it by its very values on the report prompts is not asked for its probability, which answers
        would have to be read for, where that has to be one half.
        """
        for one in keepers:
            if likely >= 0.5 and not all(self.bounded(one, bound, sure=False).keeps for bound in self._rule.bounds):
                continue
            sure = self.sure(one.pooled) if likely > 0 else None
            if sure is None or sure >= likely:
                return one
        return None

    def sure(self, pooled: Pooled, bounds: Sequence[Bound] | None = None) -> float | None:
        """Probability that all bounds hold; None where a metric in them has no known error."""
        kept = np.asarray(True)
        for bound in self._rule.bounds if bounds is None else bounds:
            values = self._resampled.draws(pooled.seeds, bound.metric)
            limits = {
                label: self._resampled.draws(self._references[label].seeds, bound.metric)
                for _, label in bound.bound.references
            }
            known = {label: draws for label, draws in limits.items() if draws is not None}
            if values is None or len(known) < len(limits):
                return None
            kept = kept & bound.kept_by(values, known)
        return float(np.mean(kept))

    def bounded(self, chosen: _Candidate, bound: Bound, *, sure: bool = True) -> Bounded:
        limits = {
            label: self._references[label].report.metrics.get(bound.metric, math.nan)
            for _, label in bound.bound.references
        }
        value = chosen.report[bound.metric]
        return Bounded(
            bound=str(bound),
            metric=bound.metric,
            value=value,
            limit=float(bound.bound.value(limits)),
            keeps=bool(bound.kept_by(value, limits)),
            sure=self.sure(chosen.pooled, [bound]) if sure else None,
        )

    def alternative(self, chosen: _Candidate, other: _Candidate, kind: Kind) -> Alternative:
        pairs = {metric: self._difference(chosen, other, metric) for metric in self._rule.metrics}
        return Alternative(
            id=other.name,
            kind=kind,
            keeps=other.keeps,
            sure=self.sure(other.pooled),
            metrics=dict(other.report),
            intervals=self.intervals(other),
            differences={metric: pair for metric, pair in pairs.items() if pair is not None},
        )

    def intervals(self, one: _Candidate) -> dict[str, tuple[float, float]]:
        found = one.pooled.intervals
        return {metric: found[metric] for metric in self._rule.metrics if metric in found}

    def _difference(self, chosen: _Candidate, other: _Candidate, metric: str) -> Difference | None:
        ours, theirs = (self._resampled.draws(one.pooled.seeds, metric) for one in (chosen, other))
        if ours is None or theirs is None:
            return None
        low, high = central_interval(ours - theirs)
        return Difference(value=chosen.report[metric] - other.report[metric], low=low, high=high)

    def _selected(self, pooled: Pooled) -> dict[str, float]:
        return mean_metrics([seed.select.metrics for seed in pooled.seeds], self._selected_of)

    def _limits(self, bound: Bound) -> dict[str, float]:
        return {label: self.select[label][bound.metric] for _, label in bound.bound.references}
