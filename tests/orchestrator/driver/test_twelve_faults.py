"""Twelve kinds of faults, all in one sweep, in an order and at moments drawn by chance; ten such sweeps are 120 faults.

Each sweep comes to its end all the same: nothing that ended is lost, nothing ends twice, and the front is that of a
sweep that nobody disturbed.
"""

import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from small_sweeps import Run, processes, small_sweep
from test_faults import found, front, kill_driver

from orchestrator.record.events import Event
from orchestrator.record.trials import Status, is_kept
from sweeps.statistics.intervals import wilson_interval

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sweeps")]


def spec() -> dict[str, Any]:
    """A sweep whose proposals are given beforehand, so that two of them run the same trials."""
    trial = {**small_sweep()["trial"], "steps": 240, "log_every": 4, "checkpoint_every": 8}
    return small_sweep(trial=trial, trials=8, searcher={"sampler": "qmc"}, resources={"slot_timeout": 20})


def ends_that_stand(run: Run) -> list[Event]:
    """Ends of trials, but those that a driver wrote which had to stop."""
    return [event for event in run.events if event["event"] == "trial_ended" and is_kept(event["status"], False)]


class Disturbed:
    """A sweep that is to suffer, and to be resumed as often as its driver is gone."""

    def __init__(self, start: Callable[..., Run], folder: Path, chance: random.Random) -> None:
        self._start, self._folder, self.chance = start, folder, chance
        self.run = start(folder, spec())
        self._reported = 0
        self._ended: dict[str, Any] = {}

    @property
    def over(self) -> bool:
        return self.run.process.poll() is not None

    def at_work(self) -> bool:
        """Wait until a trial has reported since the last fault, and a while longer; False where the sweep is over."""
        deadline = time.monotonic() + 300
        while not self.over:
            if self._reports() > self._reported:
                time.sleep(self.chance.uniform(0.0, 3.0))
                return not self.over
            assert time.monotonic() < deadline, self.run.events[-3:]
            time.sleep(0.1)
        return False

    def suffer(self, fault: Callable[["Disturbed"], None]) -> None:
        """Bring a fault about; what is reported until it has been is no sign that the sweep is at work again."""
        fault(self)
        self._reported = self._reports()

    def _reports(self) -> int:
        return sum(event["event"] == "trial_reported" for event in self.run.events)

    def resume(self) -> None:
        """The driver is gone; what had ended stands in the journal, and another one goes on."""
        now = {event["id"]: event for event in ends_that_stand(self.run)}
        assert all(now[trial] == event for trial, event in self._ended.items()), "what had ended must stand as it was"
        self._ended = now
        self._reported = self._reports()
        self.run = self._start(self._folder, None, "resume", "sweeps/out")

    def kill(self, title: str) -> None:
        """SIGKILL of one process of the sweep's Ray."""
        if there := processes(self.run, title):
            os.kill(self.chance.choice(there).pid, signal.SIGKILL)

    def wait_for_driver(self) -> None:
        """A driver that has lost its Ray says so and ends."""
        self.run.finish(120)


def driver(sweep: Disturbed) -> None:
    kill_driver(sweep.run)
    sweep.resume()


def driver_by_sigterm(sweep: Disturbed) -> None:
    sweep.run.process.terminate()
    sweep.wait_for_driver()
    sweep.resume()


def worker(sweep: Disturbed) -> None:
    sweep.kill("RayTrainWorker")


def hanging_worker(sweep: Disturbed) -> None:
    if there := processes(sweep.run, "RayTrainWorker"):
        sweep.chance.choice(there).send_signal(signal.SIGSTOP)


def trial_actor(sweep: Disturbed) -> None:
    sweep.kill("ImplicitFunc")


def broker(sweep: Disturbed) -> None:
    sweep.kill("ray::Broker")


def gcs(sweep: Disturbed) -> None:
    _ray(sweep, "gcs_server")


def raylet(sweep: Disturbed) -> None:
    _ray(sweep, "raylet")


def _ray(sweep: Disturbed, name: str) -> None:
    (process,) = [
        child for child in psutil.Process(sweep.run.process.pid).children(recursive=True) if child.name() == name
    ]
    process.kill()
    sweep.wait_for_driver()
    sweep.resume()


def damaged_tail(sweep: Disturbed) -> None:
    """As a machine leaves the journal that lost its power."""
    kill_driver(sweep.run)
    with (sweep.run.directory / "journal.jsonl").open("ab") as file:
        file.write(b'{"event": "trial_ended", "id": "small-0", "sta' + sweep.chance.randbytes(300).replace(b"\n", b""))
    sweep.resume()


def damaged_checkpoint(sweep: Disturbed) -> None:
    """A few bytes of the newest checkpoint of a trial under way are others."""
    kill_driver(sweep.run)
    done = {event["id"] for event in sweep.run.events if event["event"] == "trial_ended"}
    there = (sweep.run.directory / "checkpoints").rglob("*.pt")
    files = [
        file for file in there if file.parts[-3] not in done and file.stat().st_size
    ]  # none that was being written
    if files:
        newest = max(files, key=lambda file: file.stat().st_mtime)
        content = bytearray(newest.read_bytes())
        place = sweep.chance.randrange(len(content))
        content[place : place + 8] = bytes(8 if any(content[place : place + 8]) else 0) or b"damaged!"
        newest.write_bytes(content)
    sweep.resume()


def deleted_files(sweep: Disturbed) -> None:
    for name in ("journal.jsonl", "sweep.json", "driver.lock"):
        (sweep.run.directory / name).unlink(missing_ok=True)
    deadline = time.monotonic() + 120  # the journal is back with its next event
    while not (sweep.run.directory / "journal.jsonl").exists() and not sweep.over:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def busy_store(sweep: Disturbed) -> None:
    """Somebody else holds MLflow's database for a while."""
    with sqlite3.connect(sweep.run.directory.parent / "mlflow.db", timeout=60) as store:
        store.execute("BEGIN EXCLUSIVE")
        time.sleep(sweep.chance.uniform(1.0, 8.0))
    store.close()


FAULTS = [
    driver,
    driver_by_sigterm,
    worker,
    hanging_worker,
    trial_actor,
    broker,
    gcs,
    raylet,
    damaged_tail,
    damaged_checkpoint,
    deleted_files,
    busy_store,
]


@pytest.fixture(scope="module")
def undisturbed(start_sweep: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = start_sweep(tmp_path_factory.mktemp("undisturbed"), spec())
    code, output = run.finish()
    assert code == 0, output
    return run


@pytest.mark.parametrize("seed", range(10))
def test_twelve_faults_of_one_sweep_lose_nothing(
    start_sweep: Callable[..., Run], undisturbed: Run, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    sweep, suffered = Disturbed(start_sweep, tmp_path, chance), []
    for fault in chance.sample(FAULTS, len(FAULTS)):
        if not sweep.at_work():
            break
        sweep.suffer(fault)
        suffered.append(fault.__name__)
    print(f"seed {seed}: {len(suffered)} faults: {', '.join(suffered)}")
    if sweep.over and sweep.run.process.returncode:
        sweep.resume()
    code, output = sweep.run.finish(900)
    assert code == 0, output
    assert len(suffered) >= 10, "the sweep was over before it had met them"
    run = sweep.run
    assert set(Counter(event["id"] for event in ends_that_stand(run)).values()) == {1}
    assert Counter(record.kind for record in found(run)) == {"trial": 8, "reference": 3}
    assert {record.status for record in found(run)} == {Status.FINISHED}
    before, after = ({record.id: record for record in found(one)} for one in (undisturbed, run))
    for trial, record in after.items():
        assert record.params == before[trial].params
        for name, (successes, total) in record.report.counts.items():
            low, high = wilson_interval(successes, total)
            other_low, other_high = wilson_interval(*before[trial].report.counts[name])
            assert max(low, other_low) <= min(high, other_high), (trial, name)
    assert front(run).keys() == front(undisturbed).keys()
