"""Which scaled models a proposed trial is to measure besides its own (see :mod:`training.loop.scaling`)."""

from collections.abc import Iterable, Sequence

from orchestrator.record.trials import Status, TrialRecord
from orchestrator.search.proposal import Kind
from orchestrator.slots.messages import Axis, ScalingJob
from orchestrator.slots.scaling import known_of
from sweeps.errors import ObjectiveError
from sweeps.goals.pruning import PruningConfig
from sweeps.goals.rung_metrics import rung_goals
from sweeps.schema.arms import PLAIN, Arm
from sweeps.schema.spec import SweepSpec
from sweeps.statistics.pareto import non_dominated

LATEST = 200
"""Of so many models what was measured is sent along: more foretell no better, and every job is kept by the broker."""


class Scalings:
    """Says so for the trials of one sweep.

    A searched trial measures those in full that are foretold to be on the front of its arm, unless
    ``evaluation.scales_of`` says otherwise; where an objective has no metric that forward passes measure, all.
    References measure all: a scaled plain fine-tuning costs nothing, and every
    constraint has to beat it. A replicate measures what the trial that it repeats did.

    Args:
        spec: the sweep.
    """

    def __init__(self, spec: SweepSpec) -> None:
        self._scales = spec.evaluation.derived_scales
        self._whose = spec.evaluation.scales_of
        pruning = spec.pruning or PruningConfig()
        try:
            found = rung_goals(spec.objectives, pruning.metrics)
        except ObjectiveError:
            found = []
        self._axes = tuple(
            Axis(objective.metric, objective.goal, rung, rising=goal == objective.goal)
            for objective, (rung, goal) in zip(spec.objectives, found, strict=False)
        )

    def of(
        self,
        kind: Kind,
        repeated: str | None,
        arm: Arm,
        ended: Iterable[TrialRecord],
        *,
        constrained: bool = True,
    ) -> ScalingJob | None:
        """What a trial is asked for; None where there is nothing.

        Args:
            kind: of the trial.
            repeated: the trial that it repeats, of a replicate.
            arm: that it belongs to: other arms have fronts of their own.
            ended: what is known of its model.
            constrained: whether its training has a constraint.
        """
        if not self._scales:
            return None
        if kind == "reference":
            return ScalingJob(self._scales)
        known = [record for record in ended if record.status is Status.FINISHED]
        if kind == "replicate":
            scales = tuple(sorted(record.scale for record in known if record.scaled_of == repeated))
            return ScalingJob(scales) if scales else None
        if self._whose == "plain" and constrained:
            return None
        if not self._axes or self._whose != "foretold":
            return ScalingJob(self._scales)
        rows = [known_of(self._axes, record.select) for record in known[-LATEST:]]
        whole = tuple((row.rungs, row.objectives) for row in rows if row.whole)
        return ScalingJob(self._scales, self._axes, whole, self._rivals(known, arm))

    def _rivals(self, known: Sequence[TrialRecord], arm: Arm) -> tuple[tuple[float, ...], ...]:
        """Objectives of the arm's models that nothing else dominates; trained references are of the plain one."""
        values = [known_of(self._axes, record.select).objectives for record in known if _arm(record) == arm]
        best = non_dominated(values, [axis.goal for axis in self._axes]) if values else ()
        return tuple(value for value, first in zip(values, best, strict=True) if first)


def _arm(record: TrialRecord) -> Arm | None:
    if record.kind == "reference":
        return PLAIN if record.trial is not None else None
    return record.arm if record.kind in ("trial", "scaled") else None
