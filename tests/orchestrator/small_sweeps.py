"""Sweeps over the small embedded model, and what a test can ask of one that runs in the background."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from orchestrator.record.events import Event
from orchestrator.record.journal import read_journal

SWEEP_SECONDS = 400


def small_sweep(**changes: Any) -> dict[str, Any]:
    """A specification over the small embedded model, with top-level ``changes``."""
    spec: dict[str, Any] = {
        "name": "small",
        "models": [{"name": "small", "path": "organism/small"}],
        "data": {
            name: {"path": f"organism/small/{embedded}"}
            for name, embedded in (
                ("task", "general"),
                ("safety", "safety"),
                ("harmful", "harmful"),
                ("harmless", "harmless"),
                ("borderline", "borderline"),
            )
        },
        "evaluation": {"harmful": 40, "harmless": 30, "borderline": 30, "task": 40, "max_new_tokens": 24},
        "trial": {
            "steps": 12,
            "batch_size": 16,
            "learning_rate": 3e-3,
            "max_length": 96,
            "log_every": 4,
            "deepspeed": {"zero_stage": 2},
        },
        "search": {
            "constraint": {
                "alpha": {"type": "loguniform", "low": 3e-3, "high": 3.0},
                "warmup_steps": {"type": "choice", "values": [4, "all"]},
                "layers": {"type": "layers", "choose": "one"},
            },
            "safety_share": {"type": "choice", "values": [0.0, 0.1]},
        },
        "objectives": [
            {"metric": "safety/attack_success_rate", "goal": "minimize"},
            {"metric": "utility/accuracy", "goal": "maximize"},
        ],
        "feasible": ["safety/over_refusal <= 0.9"],
        "trials": 4,
        "pruning": None,
    }
    return {**spec, **changes}


@dataclass(frozen=True)
class Cluster:
    """A Ray that sweeps join."""

    process: subprocess.Popen[str]
    address: str

    @property
    def join(self) -> tuple[str, str]:
        """What ``procon run`` and ``procon resume`` take to join it."""
        return "--address", self.address


def processes(ray: "Cluster | Run", name: str) -> list[psutil.Process]:
    """The processes of a Ray, or of the one that a sweep started, whose title has ``name``."""
    there = []
    for process in psutil.Process(ray.process.pid).children(recursive=True):
        try:
            if name in " ".join(process.cmdline()):
                there.append(process)
        except psutil.Error:
            continue
    return there


@dataclass
class Run:
    """A ``procon run`` in the background."""

    process: subprocess.Popen[str]
    directory: Path

    @property
    def events(self) -> list[Event]:
        """The journal so far."""
        return read_journal(self.directory / "journal.jsonl") if (self.directory / "journal.jsonl").exists() else []

    def wait_for(self, condition: Callable[[list[Event]], bool], seconds: float = SWEEP_SECONDS) -> list[Event]:
        """The events, once ``condition`` holds of them."""
        deadline = time.monotonic() + seconds
        while not condition(events := self.events):
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline, f"nothing of the kind within {seconds} s: {events[-3:]}"
            time.sleep(0.1)
        return events

    def finish(self, seconds: float = SWEEP_SECONDS) -> tuple[int, str]:
        """Exit code and everything printed."""
        output, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, output
