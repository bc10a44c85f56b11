"""What a sweep ran with: versions, commit, hardware, data."""

import os
import platform
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

from orchestrator.record.fingerprints import data_hashes, judge_hashes, model_hash
from orchestrator.record.machine import find_gpus
from orchestrator.record.plugins import versions_of_plugins
from orchestrator.record.versions import versions
from sweeps.schema.spec import SweepSpec
from training.secrets import without_secrets


def manifest(spec: SweepSpec, day: date | None = None) -> dict[str, Any]:
    """Versions, git commit, hashes of models and local data files, hardware and seeds; what cannot be known is null.

    Args:
        spec: the sweep's.
        day: that its prompts are of; None takes today.
    """
    return {
        "date": (day or date.today()).isoformat(),
        "versions": versions(),
        "plugins": versions_of_plugins(spec),
        "command": [without_secrets(word) for word in sys.argv],
        "git": _git_commit(),
        "data": data_hashes(spec.data),
        "models": {model.name: model_hash(model, spec.data) for model in spec.models},
        "judges": judge_hashes(spec.evaluation),
        "seeds": {"trial": spec.trial.seed, "searcher": spec.searcher.seed, "evaluation": spec.evaluation.seed},
        "hardware": hardware(),
    }


def hardware() -> dict[str, Any]:
    """What measured times depend on: processor, cores and GPUs of this machine."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "gpus": [gpu.name for gpu in find_gpus()],
    }


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
