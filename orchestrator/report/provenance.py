"""What a sweep ran with, at the foot of ``front.html``."""

from collections.abc import Mapping
from html import escape
from typing import Any

DIGITS = 12
"""Of a hash: enough to tell one version from another."""
PACKAGES = ("procon-sweeps", "torch", "transformers", "deepspeed", "peft", "ray", "mlflow")


def provenance_section(manifest: Mapping[str, Any]) -> str:
    """Day, commit, versions, models, data and hardware of ``manifest``; nothing of what it does not know."""
    hardware = manifest.get("hardware") or {}
    machine = [hardware.get("processor"), f"{hardware['cpus']} cores" if hardware.get("cpus") else None]
    versions = manifest.get("versions") or {}
    rows = [
        ("day", str(manifest.get("date") or "")),
        ("commit", str(manifest.get("git") or "")),
        ("versions", ", ".join(f"{name} {versions[name]}" for name in PACKAGES if versions.get(name))),
        ("models", _hashes(manifest.get("models"))),
        ("data", _hashes(manifest.get("data"))),
        ("judges", _hashes(manifest.get("judges"))),
        ("hardware", ", ".join([*(str(one) for one in machine if one), *map(str, hardware.get("gpus") or [])])),
    ]
    lines = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in rows if value)
    return f'<h2>What it ran with</h2><dl class="facts">{lines}</dl>' if lines else ""


def _hashes(found: Mapping[str, str | None] | None) -> str:
    return ", ".join(
        f"{name} ({value[:DIGITS] if value else 'unknown version'})" for name, value in (found or {}).items()
    )
