"""Which settings carry over from model to model, in units that models share (pure).

Layers are shares of the depth, lengths are shares of the training, and the strength of a constraint on projections is
multiplied by the distance of harmful from harmless prompts along them, as ``alpha_scale: separation`` does.
"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from pydantic import ValidationError

from orchestrator.front.basis import Compared
from orchestrator.front.schema.comparison import Carried, NormalisedModel
from training.config import ProConConstraint, RandomDirectionConstraint, TrialConfig
from training.config.layers import resolve_layers

ALPHA, LAYERS = "constraint.alpha", "constraint.layers"
STRENGTHS = (ALPHA, "constraint.alpha_after")
FIRST, LAST = "constraint.layers.first (share of the depth)", "constraint.layers.last (share of the depth)"
STEPS = ("constraint.warmup_steps", "lr_warmup_steps")
Settings = dict[str, Any]
"""By what the setting is and in which unit."""


def carried(models: Sequence[tuple[Compared, NormalisedModel]]) -> list[Carried]:
    """What the fronts of ``models`` have in common, setting by setting; nothing with fewer than two.

    Settings that no model searched are left out.
    """
    if len(models) < 2:
        return []
    by_model = {shown.name: _of_model(one, shown) for one, shown in models}
    names = dict.fromkeys(name for found in by_model.values() for settings in found.values() for name in settings)
    rows = []
    for name in names:
        fronts = {}
        chosen = {}
        for (_, shown), (model, found) in zip(models, by_model.items(), strict=True):
            values = [found[point.id][name] for point in shown.front if name in found[point.id]]
            if values:
                fronts[model] = _span(values)
            if shown.chosen in found and name in found[shown.chosen]:
                chosen[model] = found[shown.chosen][name]
        rows.append(Carried(setting=name, chosen=chosen, fronts=fronts, common=_common(list(fronts.values()))))
    return rows


def _of_model(one: Compared, shown: NormalisedModel) -> dict[str, Settings]:
    """Settings of the members and of the chosen trial, by id."""
    trials = {p.record.id: p.record for p in one.model.trials}
    wanted = dict.fromkeys([*(point.id for point in shown.front), *([shown.chosen] if shown.chosen else [])])
    depth = _depth(one)
    return {
        trial: dict(_settings(trials[trial].params, trials[trial].trial, depth, one.separations))
        for trial in wanted
        if trial in trials
    }


def _settings(
    params: Mapping[str, Any], dumped: Mapping[str, Any] | None, depth: int | None, separations: Sequence[float] | None
) -> Iterator[tuple[str, Any]]:
    trial = _config(dumped)
    held = trial.constraint if trial is not None else None
    layers = _layers(getattr(held, "layers", None), depth)
    for path, value in params.items():
        if path == LAYERS and layers and depth is not None and depth > 1:
            yield FIRST, round(layers[0] / (depth - 1), 3)
            if layers[-1] != layers[0]:
                yield LAST, round(layers[-1] / (depth - 1), 3)
        elif path in STRENGTHS and isinstance(held, ProConConstraint | RandomDirectionConstraint):
            unit = _unit(held, layers, separations)
            known = unit is not None and isinstance(value, int | float)
            yield (f"{path} (times the separation)", float(value) * unit) if known and unit else (path, value)
        elif path in STEPS and trial is not None and trial.total_steps:
            steps = trial.total_steps if value == "all" else value
            share = steps / trial.total_steps if isinstance(steps, int | float) else value
            yield f"{path} (share of the training)", share
        else:
            yield path, value


def _unit(
    held: ProConConstraint | RandomDirectionConstraint, layers: Sequence[int], separations: Sequence[float] | None
) -> float | None:
    """What alpha is multiplied by to be that of ``alpha_scale: separation``; None where it cannot be known."""
    if held.alpha_scale == "separation":
        return 1.0
    if not layers or separations is None or layers[-1] >= len(separations):
        return None
    return fmean(separations[layer] for layer in layers) ** (2 if held.norm == "squared" else 1)


def _config(dumped: Mapping[str, Any] | None) -> TrialConfig | None:
    try:
        return None if dumped is None else TrialConfig.model_validate(dumped)
    except ValidationError:  # of a version that had other settings
        return None


def _layers(choice: Any, depth: int | None) -> list[int]:
    if choice is None or depth is None:
        return []
    try:
        return resolve_layers(choice, depth)
    except ValueError:  # recommended ones are in the causal report
        return []


def _depth(one: Compared) -> int | None:
    """Decoder layers, as the direction or the per-layer metrics count them."""
    if one.separations is not None:
        return len(one.separations)
    layers = [int(metric.rsplit("_", 1)[-1]) for metric in one.model.metrics if "/layer_" in metric]
    return max(layers) + 1 if layers else None


def _span(values: Sequence[Any]) -> tuple[Any, ...]:
    """Both ends of numbers, else each value once."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return min(values), max(values)
    return tuple(dict.fromkeys(map(_plain, values)))


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, list | dict) else value


def _common(spans: Sequence[tuple[Any, ...]]) -> tuple[Any, ...] | None:
    if len(spans) < 2:
        return None
    if all(_is_range(span) for span in spans):
        low, high = max(span[0] for span in spans), min(span[1] for span in spans)
        return (low, high) if low <= high else None
    shared = tuple(value for value in spans[0] if all(value in span for span in spans[1:]))
    return shared or None


def _is_range(span: tuple[Any, ...]) -> bool:
    return len(span) == 2 and all(isinstance(end, int | float) and not isinstance(end, bool) for end in span)
