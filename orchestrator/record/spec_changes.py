"""What differs between two specifications of a sweep, field by field."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.record.folder import named
from sweeps.schema.spec import SweepSpec


@dataclass(frozen=True)
class Change:
    """One field that differs."""

    field: str
    """Dotted path."""
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.field}: {self.before!r} -> {self.now!r}"


def changes(before: SweepSpec, now: SweepSpec) -> list[Change]:
    """The fields that differ, in order of their names; a field that one side lacks is None there."""
    old, new = (flattened(spec.model_dump(mode="json")) for spec in (before, now))
    return [
        Change(name, old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def refusal(directory: Path, found: Sequence[Change]) -> str:
    """Why a changed specification is not taken as it is; one line a change."""
    return "\n".join(
        [
            f"the specification differs from the one that {named(directory)} was run with; "
            "add --accept to go on with it, or put these fields back:",
            *(f"  {change}" for change in found),
        ]
    )


def flattened(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings and lists as dotted keys."""
    if isinstance(tree, dict) and tree:
        children = tree.items()
    elif isinstance(tree, list) and any(isinstance(item, dict) for item in tree):
        children = dict(enumerate(tree)).items()
    else:
        return {prefix.removesuffix("."): tree}
    flat: dict[str, Any] = {}
    for key, value in children:
        flat |= flattened(value, f"{prefix}{key}.")
    return flat
