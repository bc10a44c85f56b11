"""How far harmful and harmless prompts lie apart along each model's refusal direction, as its sweep recorded it."""

from pathlib import Path

from orchestrator.errors import OutputError

DIRECTIONS = "directions"


def read_separations(directory: Path, model: str) -> list[float] | None:
    """Distance of the class means by decoder layer, in the residual stream's unit; None where none is recorded.

    Raises:
        OutputError: the file is damaged.
    """
    file = directory / DIRECTIONS / model / "direction.safetensors"
    if not file.is_file():
        return None
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return [float(value) for value in load_file(file)["separation"]]
    except (OSError, KeyError, SafetensorError) as error:
        raise OutputError(
            f"{file} cannot be read ({error}): take the file away, and alpha is compared as it is"
        ) from error
