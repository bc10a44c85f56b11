"""How the environment of a recorded sweep differs from this one, the gravest first (pure)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

NUMERICAL = ("torch", "transformers", "deepspeed", "peft")
"""Packages whose minor versions change numbers."""


class Severity(StrEnum):
    """How likely a difference is to change what is measured."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


_ORDER = list(Severity)


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was."""

    severity: Severity
    what: str
    recorded: Any
    now: Any

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"severity": str(self.severity), "what": self.what, "recorded": self.recorded, "now": self.now}


def differences(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """What of two manifests (:func:`orchestrator.record.manifest.manifest`) differs, the gravest first.

    Critical: the minor version of a package that computes, the data, the model. Warning: their patch versions, Python's
    minor version, the hardware, this project's own version and commit. Info: every other package.

    Args:
        recorded: what the sweep ran with; what an older version did not record is passed over.
        now: what there is.
    """
    found = [*_versions(recorded, now), *_contents(recorded, now), *_hardware(recorded, now)]
    if "git" in recorded and recorded["git"] != now.get("git"):
        found.append(Difference(Severity.WARNING, "git commit", recorded["git"], now.get("git")))
    return sorted(found, key=lambda difference: _ORDER.index(difference.severity))


def _versions(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    here = now.get("versions", {})
    for package, before in recorded.get("versions", {}).items():
        if before != here.get(package):
            yield Difference(_severity(package, before, here.get(package)), package, before, here.get(package))


def _severity(package: str, before: str | None, after: str | None) -> Severity:
    minor = _minor(before) != _minor(after)
    if package in NUMERICAL:
        return Severity.CRITICAL if minor else Severity.WARNING
    if package == "procon-sweeps" or (package == "python" and minor):
        return Severity.WARNING
    return Severity.INFO


def _minor(version: str | None) -> tuple[str, ...] | None:
    return tuple(version.split(".")[:2]) if version else None


def _contents(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    for kind, name in (("data", "data"), ("models", "model")):
        here = now.get(kind, {})
        for key, before in recorded.get(kind, {}).items():
            if before is not None and before != here.get(key):
                yield Difference(Severity.CRITICAL, f"{name} {key}", before, here.get(key))


def _hardware(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    here = now.get("hardware", {})
    for key, before in recorded.get("hardware", {}).items():
        if before != here.get(key):
            yield Difference(Severity.WARNING, f"hardware {key}", before, here.get(key))
