"""Workers that neither die nor get on: real processes, stopped as a machine that thrashes or a dead-lock stops them."""

import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from small_sweeps import Cluster, Run, processes, small_sweep

from orchestrator.record.journal import read_journal, records
from orchestrator.record.trials import Status

pytestmark = [pytest.mark.xdist_group("sweeps"), pytest.mark.slow]


@pytest.mark.parametrize(
    ("limits", "noticed"),
    [
        ({"slot_timeout": 20}, "no sign of life of its worker"),
        ({"slot_timeout": 1000, "stall_timeout": 20}, "its workers have not got on"),
    ],
    ids=["silence", "standstill"],
)
def test_a_rank_that_stands_still_is_replaced_and_its_trial_goes_on(
    start_sweep: Callable[..., Run], cluster: Cluster, tmp_path: Path, limits: dict[str, int], noticed: str
) -> None:
    """The other rank waits for it in a collective, for twelve hours if need be."""
    trial = {**small_sweep()["trial"], "steps": 40, "log_every": 8, "checkpoint_every": 8}
    few = {"harmful": 8, "harmless": 4, "borderline": 4, "task": 8, "max_new_tokens": 6}
    resources = {"workers": 2, **limits}
    spec = small_sweep(trial=trial, trials=1, evaluation=few, resources=resources)
    run = start_sweep(tmp_path, spec, *cluster.join)
    run.wait_for(lambda events: any(event["event"] == "trial_reported" and event["step"] > 8 for event in events))
    stopped = processes(cluster, "RayTrainWorker")[-1]
    stopped.send_signal(signal.SIGSTOP)
    code, output = run.finish()
    assert code == 0, output
    assert [record.status for record in records(read_journal(run.directory / "journal.jsonl"))] == [Status.FINISHED] * 4
    notes = [event["text"] for event in run.events if event["event"] == "note"]
    assert sum(noticed in note for note in notes) == 1, notes
    (again,) = [note for note in notes if "went on from its last checkpoint" in note]
    assert int(again.rpartition(" ")[2]) > 8
    lost = [event["lost"] for event in run.events if event["event"] == "slots_lost"]
    assert lost == [1, 0]
    _, alive = psutil.wait_procs([stopped], timeout=10)
    assert not alive, "the stopped process still holds its memory"
    assert output.index(noticed) < output.index("went on from its last checkpoint"), "told when it happens"
