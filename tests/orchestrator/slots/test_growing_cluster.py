"""A sweep on a cluster whose autoscaler brings nodes for it, and takes them away: Ray's own, with real raylets."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from growing_cluster import growing_cluster
from small_sweeps import Run, small_sweep

from orchestrator.record.events import Event
from orchestrator.record.sweep_state import SweepState

pytestmark = pytest.mark.slow


def under_way(events: list[Event]) -> int:
    """Trials that a slot has, as their reports tell."""
    ended = {event["id"] for event in events if event["event"] == "trial_ended"}
    return len({event["id"] for event in events if event["event"] == "trial_reported"} - ended)


def reported(events: list[Event]) -> int:
    return sum(event["event"] == "trial_reported" for event in events)


def test_a_sweep_takes_the_nodes_that_come_and_goes_on_without_those_that_go(
    start_sweep: Callable[..., Run], tmp_path: Path
) -> None:
    """A head without CPUs, and up to three workers, of which at first one can be had."""
    trial = {**small_sweep()["trial"], "steps": 60, "checkpoint_every": 4}
    with growing_cluster({"worker": {"resources": {"CPU": 1}, "max_workers": 3}}, idle_seconds=15) as cluster:
        cluster.stock(1)
        run = start_sweep(tmp_path, small_sweep(trials=3, trial=trial), *cluster.join)
        run.wait_for(lambda events: reported(events) > 0)
        assert len(cluster.raylets()) == 1, "the first trial starts once the first node is there"
        assert SweepState.of(run.events).slots == 1, "none is proposed for a slot that is not there"
        cluster.stock(2)
        run.wait_for(lambda events: under_way(events) == 2)
        first, _second = cluster.raylets()
        first.kill()
        run.wait_for(lambda events: any(event["event"] == "slots_lost" and event["lost"] == 1 for event in events))
        code, output = run.finish()
        ended = time.monotonic()
        assert code == 0, output
        events = run.events
        counts = Counter(event["id"] for event in events if event["event"] == "trial_ended")
        assert set(counts.values()) == {1}
        assert {event["status"] for event in events if event["event"] == "trial_ended"} == {"FINISHED"}
        last = max(event["time"] for event in events if event["event"] == "trial_ended")
        (end,) = [event["time"] for event in events if event["event"] == "sweep_ended"]
        assert end - last < 15, "the slot that never found a node holds nobody up"
        while cluster.raylets():
            assert time.monotonic() - ended < 90, f"idle nodes are given back: {cluster.said()}"
            time.sleep(1)
