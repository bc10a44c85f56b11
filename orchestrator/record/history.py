"""The specification that a sweep went by, and what it ran with, as its journal tells."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.errors import OutputError
from orchestrator.record.folder import JOURNAL, SPEC, read_json
from orchestrator.record.sweep_state import SweepState
from sweeps.schema.spec import SweepSpec


def recorded_spec(state: SweepState, directory: Path) -> SweepSpec:
    """The specification that the journal holds: the first, or the last accepted change of it.

    Raises:
        OutputError: the journal holds none that this version understands.
    """
    if state.spec is None:
        raise OutputError(f"{directory / JOURNAL} does not say what the sweep was: its first line is missing")
    try:
        return SweepSpec.model_validate(state.spec)
    except ValidationError as error:
        raise OutputError(
            f"{directory / JOURNAL} holds a specification that this version does not understand ({error}): "
            "go on with the version named in sweep.json"
        ) from error


def recorded_manifest(state: SweepState, directory: Path) -> dict[str, Any]:
    """What the last driver recorded of its machine, else what ``sweep.json`` holds."""
    return dict(state.manifest or read_json(directory / SPEC).get("manifest", {}))
