"""How the front of one model grows, trial by trial (pure)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from orchestrator.front.membership import has_all, members
from orchestrator.record.trials import Status, TrialRecord
from sweeps.goals.objectives import FeasibilityRule, Objective
from sweeps.statistics.pareto import hypervolume


class VolumePoint(NamedTuple):
    """The front once some trials had ended."""

    ended: int
    """Searched trials that had ended, whatever became of them."""
    hypervolume: float
    """Of the members that keep the rules on the report prompts, by their values there."""
    size: int
    """Members, by the select prompts."""


class VolumeCourse:
    """The front of one model after each trial that ended, by the searched seeds alone.

    Only members are kept: whoever is dominated once is so for good. What replicates change comes with the document.

    Args:
        objectives: what the front trades off.
        rules: bounds that a trial must keep.
    """

    def __init__(self, objectives: Sequence[Objective], rules: Sequence[FeasibilityRule]) -> None:
        self._objectives, self._rules = objectives, rules
        self._members: list[tuple[Mapping[str, float], Mapping[str, float]]] = []  # select and report
        self._ended: set[str] = set()

    def take(self, record: TrialRecord, *scaled: TrialRecord) -> VolumePoint | None:
        """The front with ``record``, which has ended, and its ``scaled`` models.

        None where it is no searched trial, or was taken before.
        """
        if record.kind != "trial" or record.id in self._ended or not record.kept:
            return None
        self._ended.add(record.id)
        measured = [(one.select.metrics, one.report.metrics) for one in (record, *scaled)]
        if record.status is Status.FINISHED:
            rivals = [
                *self._members,
                *(both for both in measured if all(has_all(self._objectives, one) for one in both)),
            ]
            verdicts = members(self._objectives, self._rules, [values for values, _ in rivals])
            self._members = [one for one, verdict in zip(rivals, verdicts, strict=True) if verdict.on_front]
        kept = [values for _, values in self._members if all(rule.holds(values) for rule in self._rules)]
        rows = [[values[o.metric] for o in self._objectives] for values in kept]
        goals, worst = [o.goal for o in self._objectives], [o.reference for o in self._objectives]
        return VolumePoint(len(self._ended), float(hypervolume(rows, goals, worst)), len(self._members))
