"""Measuring the models between the untouched and the trained one: by forward passes, and in full where it may pay."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from training.config.measurement import TRAINED_SCALE
from training.distributed.ranks import from_rank_zero
from training.evaluation.measure import ScaledMeasurement
from training.evaluation.scores import Scores
from training.loop.scaling import Line
from training.workbench.measuring import Measuring


@dataclass(frozen=True)
class Scaling:
    """Which models on the line from the untouched (0) to the trained one (1) are measured."""

    scales: tuple[float, ...]
    """Where, ascending, without 1."""
    worth: Callable[[Mapping[float, Scores]], Collection[float]] = lambda seen: seen
    """Given what forward passes say of every scale on the select prompts, the trained model included, those of which
    answers are worth generating; asked on rank 0."""


def measure_line(
    line: Line, scaling: Scaling, trained: Scores, measuring: Measuring, tell: Callable[[str], None]
) -> tuple[ScaledMeasurement, ...]:
    """What the models at ``scaling.scales`` score; all ranks must call it, and the trained model is left as it was.

    Args:
        line: the models.
        scaling: which of them.
        trained: what the trained model scored on the select prompts.
        measuring: how.
        tell: hears what is being done.
    """
    rungs: dict[float, Scores] = {}
    for scale in scaling.scales:
        tell(f"looking at the model scaled by {scale:g}")
        with line.at(scale) as model:
            rungs[scale] = measuring.without_generation(model)
    chosen = from_rank_zero(lambda: set(scaling.worth({**rungs, TRAINED_SCALE: trained})))
    measured = []
    for scale, rung in rungs.items():
        found = None
        if scale in chosen:
            tell(f"measuring the model scaled by {scale:g}")
            with line.at(scale) as model:
                found = measuring.of(model)
        measured.append(ScaledMeasurement(scale, rung, found))
    return tuple(measured)
