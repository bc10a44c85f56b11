"""The verdict of a search with two arms: does the constraint beat plain fine-tuning at the same budget? (pure)."""

from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.front.membership import Standing, has_all, members
from orchestrator.front.pooling import Pooled, mean_metrics
from orchestrator.front.resampled import Array, Resampled
from orchestrator.front.schema.arms import ArmFront, ArmVerdict, Level
from sweeps.goals.objectives import FeasibilityRule, Objective
from sweeps.schema.arms import CONSTRAINT, PLAIN, Arm
from sweeps.statistics.bootstrap import Estimate
from sweeps.statistics.pareto import hypervolume
from sweeps.statistics.volumes import volume_difference


class Arms:
    """The fronts of the two arms of one model, each chosen on the select prompts as if there were no other.

    Plain fine-tuning and fine-tuning with safety data, which every sweep measures, count as trials of the plain arm:
    they cost nothing more, so that whoever goes without a constraint has them. So do the scaled models of both arms.

    Args:
        objectives: what the front trades off.
        rules: bounds that a trial must keep.
        pooled: the model's searched trials and references, over their training seeds.
        standings: of the searched trials, by id.
        resampled: draws of what trials may truly score, those by which a choice is made too.
    """

    def __init__(
        self,
        objectives: Sequence[Objective],
        rules: Sequence[FeasibilityRule],
        pooled: Sequence[Pooled],
        standings: Mapping[str, Standing],
        resampled: Resampled,
    ) -> None:
        self._objectives, self._rules, self._resampled = objectives, rules, resampled
        searched = [one for one in pooled if one.record.id in standings]
        self._trials = {arm: [one for one in searched if one.record.arm == arm] for arm in (CONSTRAINT, PLAIN)}
        trained = [one for one in pooled if one.record.kind == "reference" and one.record.trial is not None]
        self._chosen = {
            CONSTRAINT: self._front(self._trials[CONSTRAINT]),
            PLAIN: self._front([*trained, *self._trials[PLAIN]]),
        }

    @property
    def fronts(self) -> dict[str, ArmFront]:
        """By arm."""
        return {
            arm: ArmFront(
                trials=self._searched(arm),
                front=tuple(_name(one) for one in chosen),
                hypervolume=self._volume(self._kept(chosen)),
            )
            for arm, chosen in self._chosen.items()
        }

    def _searched(self, arm: Arm) -> int:
        return sum(one.record.scaled_of is None for one in self._trials[arm])

    def verdict(self) -> ArmVerdict | None:
        """How the arms compare on the report prompts; None where neither has a front."""
        ours, theirs = (self._kept(self._chosen[arm]) for arm in (CONSTRAINT, PLAIN))
        if not ours and not theirs:
            return None
        found = volume_difference(
            (self._values(ours), self._values(theirs)),
            (self._draws(ours), self._draws(theirs)),
            [objective.goal for objective in self._objectives],
            [objective.reference for objective in self._objectives],
        )
        level = self._level(ours, theirs)
        return ArmVerdict(
            difference=found.mean,
            low=found.low,
            high=found.high,
            paired=all(self._is_paired(one) for one in (*ours, *theirs)),
            level=level,
            sentence=self._sentence(found, level),
        )

    def _front(self, trials: Sequence[Pooled]) -> list[Pooled]:
        names = [objective.metric for objective in self._objectives] + [rule.metric for rule in self._rules]
        seen = [mean_metrics([seed.select.metrics for seed in one.seeds], names) for one in trials]
        able = [
            values if has_all(self._objectives, values) and has_all(self._objectives, one.report.metrics) else {}
            for one, values in zip(trials, seen, strict=True)
        ]
        found = members(self._objectives, self._rules, able)
        return [one for one, verdict in zip(trials, found, strict=True) if verdict.on_front]

    def _kept(self, chosen: Sequence[Pooled]) -> list[Pooled]:
        return [one for one in chosen if all(rule.holds(one.report.metrics) for rule in self._rules)]

    def _volume(self, trials: Sequence[Pooled]) -> float:
        goals = [objective.goal for objective in self._objectives]
        references = [objective.reference for objective in self._objectives]
        return float(hypervolume(self._values(trials), goals, references))

    def _values(self, trials: Sequence[Pooled]) -> list[list[float]]:
        """``[trials][objectives]`` on the report prompts."""
        return [[one.report.metrics[objective.metric] for objective in self._objectives] for one in trials]

    def _draws(self, trials: Sequence[Pooled]) -> list[list[Array]]:
        """``[trials][objectives][draws]``; a value of whose error nothing is known is held to be true."""
        found = [[self._resampled.draws(one.seeds, o.metric) for o in self._objectives] for one in trials]
        return [
            [
                np.full(self._resampled.count, value) if drawn is None else drawn
                for value, drawn in zip(values, row, strict=True)
            ]
            for values, row in zip(self._values(trials), found, strict=True)
        ]

    def _is_paired(self, one: Pooled) -> bool:
        return all(self._resampled.outcomes(one.seeds, o.metric) for o in self._objectives)

    def _level(self, ours: Sequence[Pooled], theirs: Sequence[Pooled]) -> Level | None:
        if len(self._objectives) < 2 or not ours or not theirs:
            return None
        first, second = self._objectives[:2]
        sign = 1 if second.goal == "maximize" else -1
        value = sign * min(max(sign * one.report.metrics[second.metric] for one in arm) for arm in (ours, theirs))
        pick = min if first.goal == "minimize" else max
        best = {
            name: pick(
                one.report.metrics[first.metric]
                for one in arm
                if sign * one.report.metrics[second.metric] >= sign * value
            )
            for name, arm in ((CONSTRAINT, ours), (PLAIN, theirs))
        }
        return Level(metric=second.metric, value=value, best=best)

    def _sentence(self, found: Estimate, level: Level | None) -> str:
        ours, theirs = self._searched(CONSTRAINT), self._searched(PLAIN)
        budget = f"{_trials(ours)} each" if ours == theirs else f"{_trials(ours)} against {theirs}"
        if any(one.record.scaled_of for arm in self._trials.values() for one in arm):
            budget += ", scaled models included,"
        amount = f"{found.mean:+.3f} [{found.low:.3f}, {found.high:.3f}] hypervolume"
        if found.low > 0:
            said = f"With {budget} the constraint gains {amount} over tuned plain fine-tuning"
        elif found.high < 0:
            said = f"With {budget} the constraint loses to tuned plain fine-tuning: {amount}"
        else:
            said = f"With {budget} no gain of the constraint over tuned plain fine-tuning can be told: {amount}"
        if level is None:
            return f"{said}."
        first, second = self._objectives[:2]
        at = "at least" if second.goal == "maximize" else "at most"
        values = f"{level.best[CONSTRAINT]:.2f} against {level.best[PLAIN]:.2f}"
        return f"{said}; at {level.metric} of {at} {level.value:.2f}, {first.metric} is {values}."


def _name(one: Pooled) -> str:
    return one.record.label if one.record.kind == "reference" else one.record.id


def _trials(count: int) -> str:
    return f"{count} trial{'' if count == 1 else 's'}"
