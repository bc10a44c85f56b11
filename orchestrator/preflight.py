"""Everything that can be refused before anything starts: models, layers, data, objectives, the MLflow store."""

from orchestrator.tracking import check_tracking
from sweeps.errors import SpecError
from sweeps.metrics import check_metric, names_of_rates
from sweeps.spec import SweepSpec
from training.config import Column
from training.depth import depth_of

NEEDED_COLUMNS: dict[str, tuple[Column, ...]] = {
    "task": ("prompt", "response"),
    "safety": ("prompt", "response"),
    "harmful": ("prompt",),
    "harmless": ("prompt",),
    "borderline": ("prompt",),
    "harmful_sets": ("prompt",),
    "borderline_sets": ("prompt",),
    "capability_sets": ("prompt",),
}
"""Columns that a source must have, by its field under ``data``."""


def check_sweep(spec: SweepSpec, tracking_uri: str) -> dict[str, int]:
    """Check what reading configurations and file schemas can tell; builds and loads nothing.

    Args:
        spec: a validated specification.
        tracking_uri: where MLflow runs would go.

    Returns:
        Decoder layers by model name.

    Raises:
        SpecError, TrainingError, TrackingError: the first fault, as a sentence.
    """
    depths = check_measured(spec)
    check_tracking(tracking_uri)
    return depths


def check_measured(spec: SweepSpec) -> dict[str, int]:
    """The part of :func:`check_sweep` that needs no MLflow store: all that training and measuring one trial takes.

    Raises:
        SpecError, TrainingError: the first fault, as a sentence.
    """
    from training.evaluation.judges import check_judges

    depths = check_specification(spec)
    check_judges(spec.evaluation.judges)
    if spec.evaluation.lm_eval is not None:
        from training.evaluation.lm_eval import check_lm_eval  # imports torch

        check_lm_eval(spec.evaluation.lm_eval)
    return depths


def check_specification(spec: SweepSpec) -> dict[str, int]:
    """The part of :func:`check_measured` that needs no judge to be there: models, layers, objectives, data.

    Raises:
        SpecError, TrainingError: the first fault, as a sentence.
    """
    depths = {model.name: depth_of(model) for model in spec.models}
    names = names_of_rates(spec.data, spec.evaluation)
    for name, depth in depths.items():
        try:
            spec.check_layers(depth)
        except ValueError as error:
            raise SpecError(f"trial.constraint.{error} (model {name})") from error
        try:
            spec.check_grid(depth)
        except ValueError as error:
            raise SpecError(f"{error} (model {name})") from error
        for index, objective in enumerate(spec.objectives):
            check_metric(objective.metric, f"objectives.{index}.metric", depth, names)
        for index, rule in enumerate(spec.feasible):
            check_metric(rule.metric, f"feasible.{index}", depth, names)
    _check_refusals_judged(spec)
    _check_data(spec)
    return depths


def _check_refusals_judged(spec: SweepSpec) -> None:
    """Refuse over-refusal as objective or rule where no judge asks what refused: a judge of harm cannot tell."""
    from training.evaluation.judges import build_judges

    if any(judge.asks == "refused" for judge in build_judges(spec.evaluation.judges, cache=None)):
        return
    wanted = {f"objectives.{index}": objective.metric for index, objective in enumerate(spec.objectives)}
    wanted |= {f"feasible.{index}": rule.metric for index, rule in enumerate(spec.feasible)}
    for field, metric in wanted.items():
        if metric.startswith(("safety/over_refusal", "safety/harmless_refused")):
            raise SpecError(
                f"{field} ({metric}) needs a judge that asks what refused, and evaluation.judges has none: "
                "add one, such as {type: phrases}"
            )


def _check_data(spec: SweepSpec) -> None:
    from training.data import check_source

    for name, source in spec.data.sources.items():
        check_source(source, field=f"data.{name}", need=NEEDED_COLUMNS[name.partition(".")[0]])
