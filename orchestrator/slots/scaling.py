"""Which scaled models of a trial are worth generating answers of."""

from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.slots.messages import ScalingJob
from sweeps.goals.foretelling import Foretelling, Known
from sweeps.statistics.pareto import non_dominated
from training.evaluation.scores import Scores

TRAINED = 1.0
"""The scale of the trained model, which has been measured in full."""


def worthwhile(job: ScalingJob, seen: Mapping[float, Scores]) -> list[float]:
    """The scales of ``job`` whose models are foretold to add something to the front of all that is known.

    What their answers will score is foretold by forward passes, from all models of the same base model that were
    measured in full, this trial's own among them. One whose objectives cannot be foretold is worth it.

    Args:
        job: what is asked for.
        seen: scores by scale, on the select prompts; of :data:`TRAINED` the objectives are among them.
    """
    goals = [axis.goal for axis in job.axes]
    known = [Known(rungs, objectives) for rungs, objectives in job.known]
    rivals = list(job.rivals)
    if job.axes and TRAINED in seen:
        own = Known(_rungs(job, seen[TRAINED]), _objectives(job, seen[TRAINED]))
        known.append(own)
        rivals.append(own.objectives)
    foretelling = Foretelling(known, [axis.rising for axis in job.axes])
    if not job.axes or not foretelling.able:
        return list(job.scales)
    foretold = {scale: foretelling.of(_rungs(job, seen[scale])) for scale in job.scales}
    chosen = []
    for scale, values in foretold.items():
        others = [other for at, other in foretold.items() if at != scale]
        adds = non_dominated([values, *others], goals)[0] and not _matched(values, rivals, job)
        if adds or not np.isfinite(values).all():
            chosen.append(scale)
    return chosen


def _matched(values: Sequence[float], rivals: Sequence[Sequence[float]], job: ScalingJob) -> bool:
    """Whether a rival is at least as good in every objective: the front would gain nothing."""
    if not rivals:
        return False
    signs = np.array([-1.0 if axis.goal == "maximize" else 1.0 for axis in job.axes])
    return bool((signs * np.array(rivals) <= signs * np.array(values)).all(axis=1).any())


def _rungs(job: ScalingJob, scores: Scores) -> tuple[float, ...]:
    return tuple(scores.metrics.get(axis.rung, float("nan")) for axis in job.axes)


def _objectives(job: ScalingJob, scores: Scores) -> tuple[float, ...]:
    return tuple(scores.metrics.get(axis.metric, float("nan")) for axis in job.axes)
