"""Everything that can be refused before anything starts: models, layers, data, objectives, the MLflow store."""

from orchestrator.tracking import check_tracking
from sweeps.errors import SpecError
from sweeps.objectives import check_metric
from sweeps.spec import SweepSpec
from training.config import Column, ModelConfig

NEEDED_COLUMNS: dict[str, tuple[Column, ...]] = {
    "task": ("prompt", "response"),
    "safety": ("prompt", "response"),
    "harmful": ("prompt",),
    "harmless": ("prompt",),
    "borderline": ("prompt",),
}


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
    depths = check_specification(spec)
    check_tracking(tracking_uri)
    return depths


def check_specification(spec: SweepSpec) -> dict[str, int]:
    """The part of :func:`check_sweep` that needs no MLflow store: models, layers, objectives, data.

    Raises:
        SpecError, TrainingError: the first fault, as a sentence.
    """
    depths = {model.name: _depth(model) for model in spec.models}
    for name, depth in depths.items():
        try:
            spec.check_layers(depth)
        except ValueError as error:
            raise SpecError(f"trial.constraint.{error} (model {name})") from error
        for index, objective in enumerate(spec.objectives):
            check_metric(objective.metric, f"objectives.{index}.metric", depth)
        for index, rule in enumerate(spec.feasible):
            check_metric(rule.metric, f"feasible.{index}", depth)
    _check_data(spec)
    return depths


def _depth(model: ModelConfig) -> int:
    if model.embedded:
        from training.organism.recipe import recipe_for

        return recipe_for(model).depth
    from training.models import model_depth

    return model_depth(model.path)


def _check_data(spec: SweepSpec) -> None:
    from training.data import check_source

    for name, columns in NEEDED_COLUMNS.items():
        check_source(getattr(spec.data, name), field=f"data.{name}", need=columns)
