"""What a person sees while something runs, in a terminal and elsewhere."""

import io
from typing import Any

import pytest
from small_sweeps import small_sweep

from orchestrator.commands.train_progress import TrainProgress
from orchestrator.driver.progress import Progress
from orchestrator.record.events import Event
from orchestrator.record.sweep_state import SweepState
from orchestrator.terminal import Terminal
from sweeps.schema.spec import SweepSpec
from training.config import TrialConfig


def spec(**changes: Any) -> SweepSpec:
    return SweepSpec.model_validate(small_sweep(**changes))


def started(name: str, at: float, kind: str = "trial", trained: bool = True) -> Event:
    trial = spec().trial.model_dump() if trained else None
    return {"event": "trial_started", "id": name, "model": "small", "kind": kind, "time": at, "trial": trial} | {
        "label": name,
        "params": {},
    }


def ended(name: str, at: float, status: str = "FINISHED", attacks: float = 0.5) -> Event:
    metrics = {"safety/attack_success_rate": attacks, "utility/accuracy": 0.5, "safety/over_refusal": 0.0}
    measured = {"metrics": metrics if status == "FINISHED" else {}, "counts": {}, "error": None}
    return {"event": "trial_ended", "id": name, "time": at, "status": status, **measured}


def show(progress: Progress, state: SweepState, *events: Event) -> None:
    """As the driver's journal does: what is shown has been taken in."""
    for event in events:
        state.take(event)
        progress.on_event(event)


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "file"])
def test_a_sweeps_progress_shows_what_runs_and_what_ended(terminal: bool) -> None:
    out = io.StringIO()
    state = SweepState()
    with Progress(Terminal(file=out, force_terminal=terminal), spec(), state) as progress:
        progress.say("hello")
        show(progress, state, started("m-0", 0.0), ended("m-0", 2.0))
    assert "hello" in out.getvalue()
    assert "m-0" in out.getvalue()
    assert ("left" in out.getvalue(), "\x1b[?25l" in out.getvalue()) == (True, terminal)


def test_replicates_count_once_they_have_started() -> None:
    out = io.StringIO()
    state = SweepState()
    with Progress(Terminal(file=out), spec(trials=1), state) as progress:
        for job, kind in (("m-0", "trial"), ("m-0-s1", "replicate")):
            show(progress, state, started(job, 0.0, kind), ended(job, 2.0))
    assert "[1/4] m-0 " in out.getvalue()
    assert "[2/5] m-0-s1 " in out.getvalue()


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "file"])
def test_a_trainings_progress_shows_every_report(terminal: bool) -> None:
    out = io.StringIO()
    with TrainProgress(Terminal(file=out, force_terminal=terminal), TrialConfig()) as progress:
        progress.begin()
        progress.report(1, {"train/loss": 1.5, "train/penalty": 0.0, "train/tokens_per_second": 5.0})
    assert "loss 1.5000" in out.getvalue()
    assert ("\x1b[?25l" in out.getvalue()) == terminal
