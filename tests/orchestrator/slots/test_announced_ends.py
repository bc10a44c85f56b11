"""A node that announces its end: real raylets, one of which is drained with a deadline, as spot machines are."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from raylets import drain, raylets
from small_sweeps import Run, small_sweep

from orchestrator.record.events import Event

NOTICE = 60


def steps(events: list[Event], trial: str) -> list[int]:
    """The steps that a trial reported, in order."""
    return [event["step"] for event in events if event["event"] == "trial_reported" and event["id"] == trial]


def notes(events: list[Event]) -> list[str]:
    return [event["text"] for event in events if event["event"] == "note"]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_trial_is_saved_within_the_notice_and_goes_on_elsewhere(
    start_sweep: Callable[..., Run], tmp_path: Path, workers: int
) -> None:
    """Its own checkpoints are further apart than it is long, so that it can only go on from the one of the notice."""
    trial = {**small_sweep()["trial"], "steps": 300, "log_every": 10, "checkpoint_every": 1000}
    spec = small_sweep(trials=1, trial=trial, resources={"workers": workers, "max_concurrent": 1})
    places = {name: {"CPU": 1.0} for name in ("one", "two", "three")[: workers + 1]}
    with raylets(**places) as (cluster, nodes):
        run = start_sweep(tmp_path, spec, "--address", cluster.address)
        events = run.wait_for(lambda events: any(event["event"] == "trial_reported" for event in events))
        trial_id = next(event["id"] for event in events if event["event"] == "trial_reported")
        here = next(node for node in nodes.values() if any("train" in name for name in workers_of(node)))
        before = steps(run.events, trial_id)[-1]
        drain(cluster, here, NOTICE)
        events = run.wait_for(lambda events: any("went on from its last checkpoint" in text for text in notes(events)))
        told = [text for text in notes(events) if "will be taken away in" in text]
        assert len(told) == 1
        assert f"{trial_id} is saved and goes to the next slot that is free" in told[0]
        assert not any("died" in text or "started anew" in text for text in notes(events))
        code, output = run.finish()
        assert code == 0, output
        assert told[0] in output
        found = steps(run.events, trial_id)
        assert found == sorted(set(found)), "no step is trained twice"
        assert found[found.index(before) :] == list(range(before, 301, 10))
        ends = Counter(event["status"] for event in run.events if event["event"] == "trial_ended")
        assert set(ends) == {"FINISHED"}


def workers_of(node: object) -> list[str]:
    """Titles of the processes of a node's raylet."""
    import psutil

    raylet = node.all_processes["raylet"][0].process.pid  # type: ignore[attr-defined]
    return [" ".join(child.cmdline()).lower() for child in psutil.Process(raylet).children(recursive=True)]
