"""What a journal tells of its sweep as a whole: the specification it went by, the machine, the time it took."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.errors import OutputError
from orchestrator.record.folder import JOURNAL, SPEC, read_json
from orchestrator.record.journal import Event
from sweeps.schema.spec import SweepSpec

SESSION_EVENTS = ("sweep_started", "sweep_resumed", "sweep_ended")
"""What drivers say of themselves."""


def recorded_spec(events: Sequence[Event], directory: Path) -> SweepSpec:
    """The specification that the journal holds: the first, or the last accepted change of it.

    Raises:
        OutputError: the journal holds none that this version understands.
    """
    specs = [event["spec"] for event in events if event["event"] in ("sweep_started", "spec_changed")]
    if not specs:
        raise OutputError(f"{directory / JOURNAL} does not say what the sweep was: its first line is missing")
    try:
        return SweepSpec.model_validate(specs[-1])
    except ValidationError as error:
        raise OutputError(
            f"{directory / JOURNAL} holds a specification that this version does not understand ({error}): "
            "go on with the version named in sweep.json"
        ) from error


def seconds_spent(events: Sequence[Event]) -> float:
    """Seconds that drivers worked on a sweep: from the start of each to its end, else to the last thing it recorded.

    What is noted after an end, such as the id of an MLflow run that was delivered later, is no work.
    """
    total, began, last = 0.0, None, 0.0
    for event in events:
        if event["event"] in ("sweep_started", "sweep_resumed"):
            total += last - began if began is not None else 0.0
            began = event["time"]
        last = event["time"]
        if event["event"] == "sweep_ended" and began is not None:
            total, began = total + last - began, None
    return total + (last - began if began is not None else 0.0)


def recorded_manifest(events: Sequence[Event], directory: Path) -> dict[str, Any]:
    """What the last driver of ``events`` recorded of its machine, else what ``sweep.json`` holds."""
    recorded = [event["manifest"] for event in events if event.get("manifest")]
    return dict(recorded[-1] if recorded else read_json(directory / SPEC).get("manifest", {}))
