"""What a run is called and how it looks in MLflow, and a configuration as its parameters (pure)."""

from collections.abc import Mapping
from typing import Any

from orchestrator.record.trials import TrialRecord
from orchestrator.report.plots.style import model_color, reference_look
from orchestrator.report.shown import format_value, reference_name, short_id, short_params
from sweeps.schema.arms import PLAIN

COLOR = "mlflow.runColor"
"""The tag by which MLflow's charts colour a run."""
PALENESS = 0.65
"""How far towards white a trial goes that is not on the front."""


def run_name(record: TrialRecord, *, alone: bool) -> str:
    """What people call a run: its number and what was searched, or what a reference is.

    Args:
        record: a trial or reference.
        alone: whether the sweep has but one model, which then need not be named.
    """
    called = reference_name(record.label) if record.kind == "reference" else ""
    called = called or short_id(record.id, record.model)
    called = f"{called} plain" if record.kind != "reference" and record.arm == PLAIN else called
    names = short_params(record.params)
    settings = [f"{names[path]} {format_value(value)}" for path, value in record.params.items()]
    return " · ".join([*([] if alone else [record.model]), called, *settings])


def run_color(kind: str, label: str, place: int, *, pale: bool = False) -> str:
    """The colour of a run as MLflow takes it: a hue a model, the references as in the report's pictures.

    Args:
        kind: trial, reference or replicate.
        label: which reference it is.
        place: of its model among the sweep's.
        pale: whether it stands back.
    """
    if kind == "reference":
        return reference_look(reference_name(label.partition("@")[0])).color
    color = model_color(place)
    if not pale:
        return color
    channels = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(channel + (255 - channel) * PALENESS):02x}" for channel in channels)


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def settings_of(trial: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of ``trial`` as dotted keys; of a constraint that constrains nothing, that its strength is 0.

    MLflow's charts show a run by the settings that it has, and those have no effect.
    """
    found = flat(trial)
    if found.get("constraint.alpha") == 0:
        return {name: value for name, value in found.items() if not name.startswith("constraint.")} | {
            "constraint.alpha": found["constraint.alpha"]
        }
    return found


def picture_of(run: str, name: str = "front.png") -> str:
    """The picture ``name`` among the artifacts of ``run``, as a description shows it in MLflow's page."""
    return f"![the front](get-artifact?path={name}&run_uuid={run})"
