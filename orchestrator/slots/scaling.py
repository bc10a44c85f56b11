"""Which scaled models of a trial are worth generating answers of."""

import math
from collections.abc import Mapping, Sequence

from orchestrator.slots.messages import Axis, ScalingJob
from sweeps.goals.foretelling import Foretelling, Known
from sweeps.statistics.pareto import non_dominated
from training.config.measurement import TRAINED_SCALE
from training.evaluation.scores import Scores


def worthwhile(job: ScalingJob, seen: Mapping[float, Scores]) -> list[float]:
    """The scales of ``job`` whose models are foretold to add something to the front of all that is known.

    What their answers will score is foretold by forward passes, from all models of the same base model that were
    measured in full, this trial's own among them. One whose objectives cannot be foretold is worth it.

    Args:
        job: what is asked for.
        seen: scores by scale, on the select prompts; of the trained model the objectives are among them.
    """
    known = [Known(rungs, objectives) for rungs, objectives in job.known]
    rivals = list(job.rivals)
    if TRAINED_SCALE in seen:
        own = known_of(job.axes, seen[TRAINED_SCALE])
        known.append(own)
        rivals.append(own.objectives)
    foretelling = Foretelling(known, [axis.rising for axis in job.axes])
    if not job.axes or not foretelling.able:
        return list(job.scales)
    goals = [axis.goal for axis in job.axes]
    foretold = {scale: foretelling.of(known_of(job.axes, seen[scale]).rungs) for scale in job.scales}
    chosen = []
    for scale, values in foretold.items():
        others = [other for at, other in foretold.items() if at != scale]
        adds = values not in rivals and non_dominated([values, *rivals, *others], goals)[0]
        if adds or not all(map(math.isfinite, values)):
            chosen.append(scale)
    return chosen


def known_of(axes: Sequence[Axis], scores: Scores) -> Known:
    """What ``scores`` say along ``axes``; NaN for what was not measured."""
    rungs, objectives = (
        tuple(scores.metrics.get(name, math.nan) for name in names)
        for names in ([axis.rung for axis in axes], [axis.metric for axis in axes])
    )
    return Known(rungs, objectives)
