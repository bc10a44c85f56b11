"""How sweeps end, and that every end is told: real Ray, real signals, real MLflow; where training has no part in it,
slots that train nothing."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from command_line import procon
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun
from small_sweeps import Run, small_sweep

from orchestrator.commands.status import sweep_status
from orchestrator.driver.session import Session
from orchestrator.driver.sweep import drive
from orchestrator.record.journal import read_journal, read_state, records
from orchestrator.record.trials import Status
from orchestrator.terminal import Terminal
from sweeps.schema.spec import SweepSpec

ROOT = Path(__file__).parents[3]
PRETENDED = f"""
import sys
from functools import partial
from pathlib import Path
sys.path.insert(0, {str(ROOT / "benchmarks")!r})
import threading
import ray
import typer
import fake_slots
from orchestrator.cli.sweeps import _tell
from orchestrator.driver.session import Session
from orchestrator.driver.sweep import drive
from orchestrator.terminal import Terminal
from sweeps.schema.load import load_spec
fake_slots.STARTING = 0.0
class Slots(fake_slots.FakeSlots):
    def start(self):
        super().start()
        if len(sys.argv) > 2:
            threading.Timer(float(sys.argv[2]), ray.kill, [self.broker]).start()
session = Session.new(load_spec("spec.yaml"), "sweeps/out")
try:
    _tell(drive(session, None, Terminal(), partial(Slots, seconds=float(sys.argv[1]))), False)
except typer.Exit as end:
    sys.exit(end.exit_code)
"""
"""A driver whose slots sleep for as many seconds as a trial has; and who loses its broker for good after some."""


def mlflow_runs(folder: Path) -> list[MlflowRun]:
    """All runs of the store beside the sweep."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("small")
    return list(client.search_runs([experiment.experiment_id], max_results=1000)) if experiment else []


def parent(folder: Path) -> MlflowRun:
    (run,) = [run for run in mlflow_runs(folder) if "mlflow.parentRunId" not in run.data.tags]
    return run


def spec(**changes: Any) -> dict[str, Any]:
    """A sweep for slots that train nothing: its metrics are theirs, and nothing asks for more."""
    return small_sweep(feasible=[], trials=3, resources={"max_concurrent": 1}, **changes)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, empty_store: Path, request: pytest.FixtureRequest) -> None:
    """The store beside the sweep, but where a test asks whether one was made."""
    if not request.node.name.startswith(("test_what_the_cluster_refuses_leaves_nothing", "test_ctrl_c")):
        (tmp_path / "sweeps").mkdir()
        shutil.copy(empty_store, tmp_path / "sweeps/mlflow.db")


@pytest.fixture
def pretend(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts a driver whose slots train nothing, in a process group of its own."""

    def start(*seconds: float) -> subprocess.Popen[str]:
        (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec()))
        return subprocess.Popen(
            [sys.executable, "-c", PRETENDED, *map(str, seconds)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=tmp_path,
            start_new_session=True,
        )

    return start


def lines_until(process: subprocess.Popen[str], words: str) -> str:
    """What ``process`` prints up to a line that holds ``words``."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(f"it ended without saying {words!r}: {said}")


def finished(folder: Path, status: str = "FINISHED") -> Session:
    """A sweep whose every trial ended, but whose driver had no time to say so."""
    session = Session.new(SweepSpec.model_validate(spec()), folder / "sweeps/out").open()
    metrics = {"safety/attack_success_rate": 0.5, "utility/accuracy": 0.5}
    counts = {name: [10, 20] for name in metrics}
    jobs = [("reference", label) for label in ("base", "ift", "ift_safety")]
    for kind, label in [*jobs, *(("trial", f"small-{number}") for number in range(3))]:
        identity = f"small-{label}" if kind == "reference" else label
        params = {"safety_share": 0.0} if kind == "trial" else {}
        trial = None if label == "base" else session.spec.trial_config({}).model_dump()
        session.journal.append(
            "trial_started", id=identity, model="small", kind=kind, label=label, params=params, trial=trial
        )
        measured = kind == "reference" or status == "FINISHED"
        session.journal.append(
            "trial_ended",
            id=identity,
            status="FINISHED" if measured else status,
            metrics=metrics if measured else {},
            counts=counts if measured else {},
            error=None if measured else "loss became NaN",
        )
    session.close()
    return session


@pytest.mark.parametrize(
    ("changes", "arguments", "words"),
    [
        ({"resources": {"gpus_per_worker": 1}}, (), "do not fit"),
        ({}, ("--address", "127.0.0.1:1"), "--address (127.0.0.1:1) cannot be joined"),
    ],
    ids=["no GPU", "no cluster"],
)
def test_what_the_cluster_refuses_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.setattr("orchestrator.slots.cluster.DRIVER_ENVIRONMENT", {})  # it would stay with the tests that follow
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(small_sweep(**changes)))
    refused = procon("run", "spec.yaml", "--out", "sweeps/out", *arguments, folder=tmp_path)
    assert (refused.returncode, words in refused.stderr) == (2, True), refused.stderr
    assert not (tmp_path / "sweeps").exists()


def test_what_the_cluster_refuses_leaves_a_resumed_sweep_as_it_was(tmp_path: Path) -> None:
    folder = finished(tmp_path).directory
    before = (folder / "journal.jsonl").read_bytes()
    arguments = ("extend", str(folder), "--trials", "1", "--set", "resources.gpus_per_worker=1", "--accept")
    refused = procon(*arguments, folder=tmp_path)
    assert (refused.returncode, "do not fit" in refused.stderr) == (2, True), refused.stderr
    assert (folder / "journal.jsonl").read_bytes() == before
    assert not (folder / "driver.lock").exists()


def test_ctrl_c_stops_cleanly(start_sweep: Callable[..., Run], tmp_path: Path) -> None:
    trial = {**small_sweep()["trial"], "steps": 400, "log_every": 1}
    run = start_sweep(tmp_path, small_sweep(trial=trial, trials=6, resources={"max_concurrent": 1}))
    run.wait_for(lambda events: any(event["event"] == "trial_reported" for event in events))
    started = psutil.Process(run.process.pid).children(recursive=True)
    os.killpg(run.process.pid, signal.SIGINT)  # as a terminal does
    code, output = run.finish(120)
    assert code == 130, output
    found = records(read_journal(run.directory / "journal.jsonl"))
    assert {record.status for record in found} <= {Status.FINISHED, Status.STOPPED}
    assert any(record.status is Status.STOPPED for record in found)
    assert (run.directory / "front.json").exists()
    assert "interrupted" in output
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive, f"left behind: {alive}"


def test_ctrl_c_while_ray_starts_leaves_nothing_behind(pretend, tmp_path: Path) -> None:
    process = pretend(1.0)
    lines_until(process, "starting Ray")
    time.sleep(1.0)
    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "nothing is left behind" in output
    assert not (tmp_path / "sweeps").exists()


@pytest.mark.slow
def test_sigterm_to_all_its_processes_still_gives_a_report(pretend, tmp_path: Path) -> None:
    """As a batch system sends it, which ends Ray at once, and with it whom one could ask to stop."""
    process = pretend(8.0)
    folder = tmp_path / "sweeps/out"
    lines_until(process, "small-base FINISHED")
    deadline = time.monotonic() + 60
    while len([e for e in read_journal(folder / "journal.jsonl") if e["event"] == "trial_reported"]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    started = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert sweep_status(folder).state == "stopped"
    assert (folder / "front.json").is_file()
    found = records(read_journal(folder / "journal.jsonl"))
    assert Status.RUNNING not in {record.status for record in found}
    assert parent(folder.parent).info.status == "KILLED"
    assert parent(folder.parent).data.tags["procon.status"] == "STOPPED"
    assert {run.info.status for run in mlflow_runs(folder.parent)} == {"FINISHED", "KILLED"}
    assert f"procon resume {os.path.relpath(folder, tmp_path)}" in output
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive, f"left behind: {alive}"


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["gcs_server", "raylet"])
def test_a_ray_that_was_killed_is_told(pretend, tmp_path: Path, killed: str) -> None:
    """As the kernel does where memory runs out: nobody can be asked to stop, and Ray soon ends the driver as well."""
    process = pretend(30.0)
    folder = tmp_path / "sweeps/out"
    lines_until(process, "small-base FINISHED")
    started = psutil.Process(process.pid).children(recursive=True)
    (victim,) = [one for one in started if one.name() == killed or " ".join(one.cmdline()).startswith(killed)]
    begin = time.monotonic()
    victim.kill()
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 1, output
    assert time.monotonic() - begin < 30
    found = sweep_status(folder)
    assert (found.state, (found.reason or "").startswith("Ray is gone: ")) == ("stopped", True)
    assert f"procon resume {os.path.relpath(folder, tmp_path)}" in output
    assert [event["event"] for event in read_journal(folder / "journal.jsonl")].count("sweep_ended") == 1
    assert Status.RUNNING not in {record.status for record in records(read_journal(folder / "journal.jsonl"))}
    assert {run.info.status for run in mlflow_runs(folder.parent)} == {"FINISHED", "KILLED"}
    assert parent(folder.parent).data.tags["procon.status"] == "STOPPED"
    assert not (folder / "driver.lock").exists()
    _, alive = psutil.wait_procs(started, timeout=180)  # the agents of a dead node first try to tell its head
    assert not alive, f"left behind: {alive}"


@pytest.mark.slow
def test_a_broker_that_was_killed_comes_back(pretend, tmp_path: Path) -> None:
    """While trials run, wait and end."""
    process = pretend(4.0)
    folder = tmp_path / "sweeps/out"
    for said in ("small-base FINISHED", "small-ift FINISHED", "small-0 FINISHED"):
        lines_until(process, said)
        there = psutil.Process(process.pid).children(recursive=True)
        (broker,) = [one for one in there if " ".join(one.cmdline()).startswith("ray::Broker")]
        broker.kill()
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    events = read_journal(folder / "journal.jsonl")
    assert [record.status for record in records(events)] == [Status.FINISHED] * 6
    assert [event["event"] for event in events].count("trial_ended") == 6
    for record in records(events):
        if record.trial is not None:
            assert len(record.history) == 12, "every report of every trial"
    assert "Traceback" not in output


@pytest.mark.slow
def test_a_broker_that_cannot_be_had_ends_the_sweep_with_a_sentence(pretend, tmp_path: Path) -> None:
    process = pretend(30.0, 30.0)
    folder = tmp_path / "sweeps/out"
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 1, output
    assert "the broker between trials and slots has died" in (sweep_status(folder).reason or "")
    assert f"procon resume {os.path.relpath(folder, tmp_path)}" in output
    assert Status.RUNNING not in {record.status for record in records(read_journal(folder / "journal.jsonl"))}


def test_a_finished_sweep_that_is_resumed_keeps_its_duration(tmp_path: Path) -> None:
    folder = finished(tmp_path).directory
    first = drive(Session.again(folder), None, Terminal(file=io.StringIO()))
    assert (first.stopped, first.undelivered) == (None, 0)
    before, spent = parent(folder.parent), read_state(folder / "journal.jsonl").seconds
    assert before.info.status == "FINISHED"
    time.sleep(1.1)
    again = drive(Session.again(folder), None, Terminal(file=io.StringIO()))
    after = parent(folder.parent)
    assert (after.info.start_time, after.info.end_time) == (before.info.start_time, before.info.end_time)
    assert after.info.status == "FINISHED"
    assert read_state(folder / "journal.jsonl").seconds == spent
    assert again.stopped is None
    assert sweep_status(folder).state == "ended"


def test_a_resume_delivers_what_mlflow_missed_at_its_own_time(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = finished(tmp_path).directory
    drive(Session.again(folder), None, Terminal(file=io.StringIO()))
    spent = read_state(folder / "journal.jsonl").seconds
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(empty_store, other / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other}/mlflow.db")
    time.sleep(1.1)
    ended = [event for event in read_journal(folder / "journal.jsonl") if event["event"] == "sweep_ended"][-1]
    assert drive(Session.again(folder), None, Terminal(file=io.StringIO())).undelivered == 0
    run = parent(other)
    assert run.info.status == "FINISHED"
    assert run.info.end_time == int(ended["time"] * 1000)
    assert run.info.start_time < run.info.end_time
    assert len(mlflow_runs(other)) == 7
    assert read_state(folder / "journal.jsonl").seconds == spent


def test_a_model_that_one_driver_gave_up_is_not_given_up_by_the_next(tmp_path: Path) -> None:
    folder = finished(tmp_path).directory
    session = Session.again(folder).open()
    session.journal.append("model_given_up", model="small", error="it has no layers")
    session.close()
    outcome = drive(Session.again(folder), None, Terminal(file=io.StringIO()))
    assert (outcome.given_up, outcome.failed) == ({}, False)
    assert parent(folder.parent).info.status == "FINISHED"
    assert parent(folder.parent).data.tags["procon.given_up"] == ""


def test_a_parent_whose_trials_all_failed_has_failed(tmp_path: Path) -> None:
    folder = finished(tmp_path, "FAILED").directory
    outcome = drive(Session.again(folder), None, Terminal(file=io.StringIO()))
    assert outcome.failed
    assert parent(folder.parent).info.status == "FAILED"
    assert parent(folder.parent).data.tags["procon.status"] == "FAILED"


def test_an_end_that_was_not_meant_to_be_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = finished(tmp_path).directory
    (folder / "front.json").mkdir()  # so that the report cannot be written
    with pytest.raises(OSError, match=r"front\.json"):
        drive(Session.again(folder), None, Terminal(file=io.StringIO()))
    assert sweep_status(folder).state == "stopped"
    assert "failed" in (sweep_status(folder).reason or "")
    assert parent(folder.parent).info.status == "FAILED"
    assert "front.json" in parent(folder.parent).data.tags["procon.error"]
    (folder / "front.json").rmdir()
    assert drive(Session.again(folder), None, Terminal(file=io.StringIO())).stopped is None
    assert parent(folder.parent).info.status == "FINISHED"
    assert json.loads((folder / "front.json").read_text())["models"]
