"""Which scaled models of a trial are worth generating answers of: those that nothing beats for sure."""

from collections.abc import Mapping

from orchestrator.slots.messages import ScalingJob
from sweeps.goals.pruning import RungResult, dominating_for_sure, rung_result
from training.evaluation.scores import Scores


def worthwhile(job: ScalingJob, seen: Mapping[float, Scores]) -> list[float]:
    """The scales of ``job`` whose models may be on a front, by metrics that need no generation.

    One is left out where another model, of this trial at another scale or of ``job.rivals``, is no worse in every
    metric and better in one even at the better end of its confidence interval: the guard by which trials are pruned.

    Args:
        job: what is asked for.
        seen: scores by scale, on the select prompts; 1, the trained model, may be among them.
    """
    if not job.goals:
        return list(job.scales)
    goals = [goal for _, goal in job.goals]
    line = {scale: rung_result(f"{scale:g}", job.goals, scores) for scale, scores in seen.items()}
    others = [RungResult(f"rival {index}", values, (0.0,) * len(values)) for index, values in enumerate(job.rivals)]
    return [
        scale
        for scale in job.scales
        if dominating_for_sure(
            line[scale], [*others, *(one for at, one in line.items() if at != scale)], goals, job.confidence
        )
        is None
    ]
