"""What a person sees while something runs, in a terminal and elsewhere."""

import io

import pytest

from orchestrator.progress import Progress
from orchestrator.terminal import Terminal
from orchestrator.train_progress import TrainProgress
from training.config import TrialConfig


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "file"])
def test_a_sweeps_progress_shows_what_runs_and_what_ended(terminal: bool) -> None:
    out = io.StringIO()
    with Progress(Terminal(file=out, force_terminal=terminal), "sweep", 3, []) as progress:
        progress.say("hello")
        progress.on_event({"event": "trial_started", "id": "m-0", "kind": "trial", "time": 0.0})
        ended = {"status": "FINISHED", "metrics": {}, "error": None}
        progress.on_event({"event": "trial_ended", "id": "m-0", "time": 2.0, **ended})
    assert "hello" in out.getvalue()
    assert "m-0" in out.getvalue()
    assert ("elapsed" in out.getvalue(), "\x1b[?25l" in out.getvalue()) == (True, terminal)


def test_replicates_count_once_they_have_started() -> None:
    out = io.StringIO()
    with Progress(Terminal(file=out), "sweep", 1, []) as progress:
        for job, kind in (("m-0", "trial"), ("m-0-s1", "replicate")):
            progress.on_event({"event": "trial_started", "id": job, "kind": kind, "time": 0.0})
            ended = {"status": "FINISHED", "metrics": {}, "error": None}
            progress.on_event({"event": "trial_ended", "id": job, "time": 2.0, **ended})
    assert "[1/1] m-0 " in out.getvalue()
    assert "[2/2] m-0-s1 " in out.getvalue()
    assert "about 0:00 left" in out.getvalue()


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "file"])
def test_a_trainings_progress_shows_every_report(terminal: bool) -> None:
    out = io.StringIO()
    with TrainProgress(Terminal(file=out, force_terminal=terminal), TrialConfig()) as progress:
        progress.begin()
        progress.report(1, {"train/loss": 1.5, "train/penalty": 0.0, "train/tokens_per_second": 5.0})
    assert "loss 1.5000" in out.getvalue()
    assert ("\x1b[?25l" in out.getvalue()) == terminal
