"""True sweeps whose trials begin from one another's checkpoints, held against one whose trials all begin at step 1."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_sweeps import Cluster, Run, small_sweep

from orchestrator.front.front_file import read_front
from orchestrator.record.events import Event
from orchestrator.record.folder import FORKS
from orchestrator.record.journal import read_journal, read_state

pytestmark = [pytest.mark.xdist_group("sweeps"), pytest.mark.slow]

WARMUPS = [4, 8, "all"]


def spec(**searcher: Any) -> dict[str, Any]:
    """Three ends of one training, one after another, with reports and a rung before and after they part."""
    few = {"harmful": 12, "harmless": 6, "borderline": 6, "task": 12, "max_new_tokens": 6}
    trial = {**small_sweep()["trial"], "log_every": 2, "deepspeed": {"zero_stage": 0}, "constraint": {"alpha": 0.3}}
    return small_sweep(
        evaluation=few,
        trial=trial,
        search={"constraint": {"warmup_steps": {"type": "choice", "values": WARMUPS}}},
        trials=len(WARMUPS),
        pruning={"rungs": [0.5], "reduction": 1.1},
        searcher={"sampler": "grid", **searcher},
        resources={"workers": 1, "max_concurrent": 1},
        keep={"checkpoints": "all"},
    )


def trials(directory: Path) -> dict[str, Any]:
    """What became of each searched trial, by its warm-up."""
    found = read_state(directory / "journal.jsonl").records()
    return {str(one.params["constraint.warmup_steps"]): one for one in found if one.kind == "trial"}


def measured(record: Any) -> dict[str, Any]:
    """Everything that a trial said, but for what tells of the clock."""
    clock = ("seconds", "tokens_per_second")
    return {
        "report": {name: value for name, value in record.report.metrics.items() if not name.endswith(clock)},
        "select": {name: value for name, value in record.select.metrics.items() if not name.endswith(clock)},
        "rungs": [(one.step, one.scores.metrics) for one in record.rungs],
        "history": [(step, {n: v for n, v in said.items() if not n.endswith(clock)}) for step, said in record.history],
    }


def test_a_killed_driver_goes_on_and_every_fork_is_the_trial_from_its_first_step(
    start_sweep: Callable[..., Run], cluster: Cluster, tmp_path: Path
) -> None:
    whole = start_sweep(tmp_path / "whole", spec(forks=False), *cluster.join)
    code, output = whole.finish()
    assert code == 0, output
    run = start_sweep(tmp_path / "forked", spec(), *cluster.join)

    def forked_and_under_way(events: list[Event]) -> bool:
        return (
            events[-1:] != []
            and events[-1]["event"] == "trial_reported"
            and any(event["event"] == "trial_forked" and event["id"] == events[-1]["id"] for event in events)
        )

    run.wait_for(forked_and_under_way)
    os.kill(run.process.pid, signal.SIGKILL)
    run.process.wait()
    assert any((run.directory / FORKS).iterdir())
    again = start_sweep(tmp_path / "forked", None, "resume", str(run.directory), *cluster.join)
    code, output = again.finish()
    assert code == 0, output
    undisturbed, found = trials(whole.directory), trials(run.directory)
    assert {name: measured(one) for name, one in found.items()} == {
        name: measured(one) for name, one in undisturbed.items()
    }
    assert all(one.forked_from is None for one in undisturbed.values())
    forks = [one for one in found.values() if one.forked_from is not None]
    assert len(forks) == 2
    assert not any((run.directory / FORKS).iterdir())  # no fork can come any more
    events = read_journal(run.directory / "journal.jsonl")
    started = {event["id"]: event["forked_from"] for event in events if "forked_from" in event}
    assert started == {one.id: {"trial": one.forked_from, "step": one.forked_at} for one in forks}
    (body,) = read_front(run.directory).models.values()
    assert body.steps is not None
    assert body.steps.forks == 2
    assert body.steps.trained + body.steps.shared == 3 * 12
    assert body.steps.sentence in output
