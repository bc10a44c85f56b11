"""How far harmful and harmless prompts lie apart along each model's refusal direction, as its sweep recorded it."""

from pathlib import Path

from sweeps.schema.spec import SweepSpec

DIRECTIONS = "directions"


def read_separations(directory: Path, model: str) -> list[float] | None:
    """Distance of the class means by decoder layer, in the residual stream's unit; None where none can be read."""
    file = directory / DIRECTIONS / model / "direction.safetensors"
    if not file.is_file():
        return None
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return [float(value) for value in load_file(file)["separation"]]
    except (OSError, KeyError, SafetensorError):
        return None


def separations_of(directory: Path, spec: SweepSpec) -> dict[str, list[float]]:
    """:func:`read_separations` of every model of the sweep in ``directory``, where any is recorded."""
    found = {model.name: read_separations(directory, model.name) for model in spec.models}
    return {name: values for name, values in found.items() if values is not None}
