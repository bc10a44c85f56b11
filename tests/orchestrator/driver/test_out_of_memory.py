"""Machines without memory: real allocations that fail, and Ray's memory monitor that really ends a worker."""

import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from small_sweeps import Run, processes, small_sweep

from orchestrator.record.journal import read_journal, records
from orchestrator.record.trials import Status

pytestmark = [pytest.mark.xdist_group("sweeps"), pytest.mark.slow]

FEW = {"harmful": 8, "harmless": 4, "borderline": 4, "task": 8, "max_new_tokens": 6}
HOG = """
import sys, time
taken = bytearray(int(sys.argv[1]))
for page in range(0, len(taken), 4096):
    taken[page] = 1
print("taken", flush=True)
time.sleep(600)
"""


def notes(run: Run) -> list[str]:
    return [event["text"] for event in run.events if event["event"] == "note"]


class Machine:
    """This machine, with a limit from which on Ray ends workers and a process that takes what is free below it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, spare: int) -> None:
        memory = psutil.virtual_memory()
        if memory.available < spare + 2 * 2**30:
            pytest.skip(
                f"{memory.available / 2**30:.1f} GiB of memory are free, and {spare / 2**30 + 2:.0f} are needed"
            )
        self._limit = memory.total - memory.available + spare
        monkeypatch.setenv("RAY_memory_usage_threshold", f"{self._limit / memory.total:.4f}")
        monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")

    @contextmanager
    def left(self, size: int) -> Iterator[None]:
        """So many bytes are left to the sweep."""
        memory = psutil.virtual_memory()
        taken = self._limit - (memory.total - memory.available) - size
        hog = subprocess.Popen([sys.executable, "-c", HOG, str(taken)], stdout=subprocess.PIPE, text=True)
        try:
            assert hog.stdout is not None
            assert hog.stdout.readline() == "taken\n"
            yield
        finally:
            hog.kill()
            hog.wait()


def hungry() -> dict[str, Any]:
    """A sweep of one slot whose trainings take some GiB at each step."""
    trial = {**small_sweep()["trial"], "batch_size": 1024, "steps": 4, "log_every": 1, "checkpoint_every": 1}
    return small_sweep(trial=trial, trials=1, evaluation=FEW, resources={"max_concurrent": 1})


def test_a_worker_that_ray_ends_for_memory_costs_its_trial_a_move(
    start_sweep: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, 8 * 2**30)
    run = start_sweep(tmp_path, hungry())
    run.wait_for(lambda events: any(event["event"] == "trial_ended" for event in events))  # of the untouched model
    with machine.left(1200 * 2**20):
        run.wait_for(lambda _events: any("had no memory left" in note for note in notes(run)), 120)
    code, output = run.finish()
    assert code == 0, output
    assert {record.status for record in records(read_journal(run.directory / "journal.jsonl"))} == {Status.FINISHED}


def test_a_trial_for_which_no_machine_has_memory_fails_with_what_may_help(
    start_sweep: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, 8 * 2**30)
    run = start_sweep(tmp_path, hungry())
    run.wait_for(lambda events: any(event["event"] == "trial_ended" for event in events))
    with machine.left(1200 * 2**20):  # enough for new workers, which take half a GiB each, and not for their trainings
        events = run.wait_for(lambda events: sum(event["event"] == "trial_ended" for event in events) == 2)
    (failed,) = [event for event in events if event["event"] == "trial_ended" and event["id"] == "small-ift"]
    assert failed["status"] == "FAILED"
    assert re.fullmatch(
        r"Ray ended (its worker 0|what controls it), .* had no memory left, 2 times: lower resources.max_concurrent .*",
        failed["error"],
    )


def test_memory_that_does_not_suffice_for_a_batch_halves_it(start_sweep: Callable[..., Run], tmp_path: Path) -> None:
    """The worker's address space is limited, once it has all that it needs before training."""
    trial = {**small_sweep()["trial"], "batch_size": 256, "steps": 4, "log_every": 1}
    run = start_sweep(tmp_path, small_sweep(trial=trial, trials=1, evaluation=FEW, resources={"max_concurrent": 1}))
    run.wait_for(lambda events: any(event["event"] == "trial_ended" for event in events))  # of the untouched model
    (worker,) = processes(run, "RayTrainWorker")
    limit = worker.memory_info().vms + 50 * 2**20
    resource.prlimit(worker.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    code, output = run.finish()
    print(output)
    assert code == 0, output
    assert any("memory ran out on rank 0" in note for note in notes(run)), notes(run)
