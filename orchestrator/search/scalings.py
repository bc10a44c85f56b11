"""Which scaled models a proposed trial is to measure besides its own (see :mod:`training.loop.scaling`)."""

from collections.abc import Iterable

from orchestrator.record.trials import Status, TrialRecord
from orchestrator.search.proposal import Kind
from orchestrator.slots.messages import ScalingJob
from sweeps.errors import ObjectiveError
from sweeps.goals.pruning import PruningConfig, rung_result
from sweeps.goals.rung_metrics import rung_goals
from sweeps.schema.arms import Arm
from sweeps.schema.spec import SweepSpec
from sweeps.statistics.pareto import non_dominated


class Scalings:
    """Says so for the trials of one sweep.

    A searched trial measures those that nothing known beats for sure by forward passes; where an objective has no
    metric that they measure, all. References measure all: a scaled plain fine-tuning costs nothing, and every
    constraint has to beat it. A replicate measures what the trial that it repeats did.

    Args:
        spec: the sweep.
    """

    def __init__(self, spec: SweepSpec) -> None:
        self._scales = spec.evaluation.derived_scales
        pruning = spec.pruning or PruningConfig()
        self._confidence = pruning.confidence
        try:
            self._goals = tuple(rung_goals(spec.objectives, pruning.metrics))
        except ObjectiveError:
            self._goals = ()

    def of(self, kind: Kind, repeated: str | None, arm: Arm, ended: Iterable[TrialRecord]) -> ScalingJob | None:
        """What a trial is asked for; None where there is nothing.

        Args:
            kind: of the trial.
            repeated: the trial that it repeats, of a replicate.
            arm: that it belongs to: other arms have fronts of their own.
            ended: what is known of its model.
        """
        if not self._scales:
            return None
        if kind == "reference":
            return ScalingJob(self._scales)
        if kind == "replicate":
            scales = tuple(sorted(record.scale for record in ended if record.scaled_of == repeated))
            return ScalingJob(scales) if scales else None
        rivals = self._rivals(record for record in ended if record.arm == arm and record.kind in ("trial", "scaled"))
        return ScalingJob(self._scales, self._goals, rivals, self._confidence)

    def _rivals(self, records: Iterable[TrialRecord]) -> tuple[tuple[float, ...], ...]:
        """Values of what nothing else dominates; what is dominated beats nothing that its better does not beat."""
        finished = [record for record in records if record.status is Status.FINISHED]
        values = [rung_result(record.id, self._goals, record.select).values for record in finished]
        best = non_dominated(values, [goal for _, goal in self._goals]) if values and self._goals else ()
        return tuple(value for value, first in zip(values, best, strict=False) if first)
