"""Layers ``recommended``: the band of the direction's causal report."""

import logging

from training.config import RECOMMENDED, TrialConfig
from training.direction.causal import CausalReport, layers_text
from training.errors import DirectionError

log = logging.getLogger(__name__)


def with_recommended_layers(trial: TrialConfig, report: CausalReport | None, model: str) -> TrialConfig:
    """The trial with the layers of ``report`` in place of ``recommended``; any other comes back as it is.

    Args:
        trial: with any constraint.
        report: of the direction of the model; None where it was not checked.
        model: its name.

    Raises:
        DirectionError: the report recommends none.
    """
    if getattr(trial.constraint, "layers", None) != RECOMMENDED:
        return trial
    if report is None or not report.passes:
        reason = report.sentence if report else "direction.causal is null"
        raise DirectionError(
            f"constraint.layers (recommended) names no layers of {model}, because {reason}: name the layers yourself"
        )
    log.info("constraint.layers (recommended) of %s: %s", model, layers_text(report.band))
    constraint = trial.constraint.model_copy(update={"layers": list(report.band)})
    return trial.model_copy(update={"constraint": constraint})
