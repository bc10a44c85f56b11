"""What a sweep ran with: versions, commit, hardware, data."""

import hashlib
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from sweeps.spec import SweepSpec
from training.config import DataConfig, Source

PACKAGES = ("procon-sweeps", "ray", "torch", "transformers", "deepspeed", "peft", "datasets", "mlflow", "optuna")


def manifest(spec: SweepSpec) -> dict[str, Any]:
    """Versions, git commit, hashes of local data files, hardware and seeds; what cannot be known is null."""
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "command": sys.argv,
        "git": _git_commit(),
        "data": _data_hashes(spec.data),
        "seeds": {"trial": spec.trial.seed, "searcher": spec.searcher.seed, "evaluation": spec.evaluation.seed},
        "hardware": {"machine": platform.machine(), "processor": _processor(), "cpus": os.cpu_count()},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of the checkout this code runs from, with ``+changes`` when files differ from it."""
    here = Path(__file__).resolve().parent
    try:
        command = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+changes"]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _processor() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def _data_hashes(data: DataConfig) -> dict[str, str]:
    """SHA-256 of every local file the sweep reads, by path."""
    paths = [path for name in DataConfig.model_fields for path in _paths(getattr(data, name))]
    return {path: _sha256(Path(path)) for path in dict.fromkeys(paths) if Path(path).is_file()}


def _paths(source: Source) -> list[str]:
    parts = [source.path, source.train.path if source.train else None, source.test.path if source.test else None]
    return [path for part in parts if part is not None for path in ([part] if isinstance(part, str) else part)]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
