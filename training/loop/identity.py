"""What a checkpoint is of, and the refusal to go on from that of another training."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from training.config import TrialConfig
from training.errors import CheckpointError
from training.loop import portable
from training.loop.names import MANIFEST_FILE


@dataclass(frozen=True)
class Identity:
    """What must be the same for a checkpoint to fit."""

    trial: dict[str, Any]
    """The trial's settings, as JSON."""
    data: str
    """Fingerprint of the samples."""
    model: str
    """Fingerprint of the untouched model."""
    world_size: int
    """Number of ranks."""


def read_manifest(path: Path) -> tuple[Identity, int]:
    """What the checkpoint at ``path`` is of, and by which version of the plan of batches.

    Raises:
        OSError, ValueError, KeyError, TypeError, AttributeError: it is not there, or damaged: files are missing or cut.
    """
    manifest = json.loads((path / MANIFEST_FILE).read_text())
    saved = Identity(**{field.name: manifest[field.name] for field in fields(Identity)})
    plan: int = manifest.get("plan", 1)
    for name, size in manifest["files"].items():
        found = (path / name).stat().st_size
        if found != size:
            raise ValueError(f"{name} has {found} bytes instead of {size}")
    return saved, plan


def refuse_others(path: Path, saved: Identity, own: Identity, *, any_world_size: bool) -> None:
    """Refuse the checkpoint at ``path``, which is ``saved``, where it does not fit ``own``.

    Args:
        path: where it is.
        saved: what it is of.
        own: what is to go on.
        any_world_size: whether any number of workers can read it.

    Raises:
        CheckpointError: it names what differs.
    """
    trial = _with_new_fields(saved.trial)
    if trial != own.trial:
        before, now = _flat(trial), _flat(own.trial)
        changed = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
        shown = ", ".join(f"{name} {before.get(name)!r} there and {now.get(name)!r} here" for name in changed[:3])
        raise CheckpointError(
            f"the checkpoint {path} belongs to another trial ({shown}): use its settings, another checkpoint "
            "directory, or start over without resuming"
        )
    for field, what in (("data", "other samples"), ("model", "another model")):
        if getattr(saved, field) != getattr(own, field):
            raise CheckpointError(
                f"the checkpoint {path} belongs to {what}: use the {field} it was made with, another checkpoint "
                "directory, or start over without resuming"
            )
    if saved.world_size != own.world_size and not any_world_size and not portable.is_in(path):
        raise CheckpointError(
            f"the checkpoint {path} was made by {saved.world_size} workers and cannot be loaded by "
            f"{own.world_size}: use {saved.world_size} workers (only ZeRO stage 0 in fp32 resumes with another "
            "number, and what was written under resources.min_workers), or start over without resuming"
        )


def _with_new_fields(trial: dict[str, Any]) -> dict[str, Any]:
    """Settings as an earlier version wrote them, with the defaults of the fields that came since."""
    try:
        return TrialConfig.model_validate(trial).model_dump(mode="json")
    except ValidationError:  # what this version does not understand is another trial
        return trial


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found
