"""Faults one by one, on a real Ray and a real driver whose slots train nothing: what is seen, kept and lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from test_endings import PRETENDED, lines_until, spec

from orchestrator.commands.status import sweep_status
from orchestrator.record.journal import read_journal, read_state

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]
RESUMED = PRETENDED.replace('Session.new(load_spec("spec.yaml"), "sweeps/out")', 'Session.again(Path("sweeps/out"))')
Tell = Callable[[str, str, str, float], None]


class Sweep:
    """A driver with slots that sleep for as long as they are told, and what it leaves."""

    def __init__(self, folder: Path, store: Path) -> None:
        self.folder, self.out = folder, folder / "sweeps/out"
        self.process: subprocess.Popen[str] | None = None
        self.out.parent.mkdir()
        shutil.copy(store, self.out.parent / "mlflow.db")
        (folder / "spec.yaml").write_text(yaml.safe_dump(spec()))

    def start(self, seconds: float, code: str = PRETENDED, **environment: str) -> subprocess.Popen[str]:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(seconds)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            start_new_session=True,
            env={**os.environ, **environment},
        )
        return self.process

    def ended(self) -> dict[str, Any]:
        """How trials ended, by id."""
        events = read_journal(self.out / "journal.jsonl")
        return {event["id"]: event for event in events if event["event"] == "trial_ended"}

    def wait_for_step(self, session: int = 1) -> None:
        """Until a trial of the driver's time number ``session`` has reported and not ended."""
        deadline = time.monotonic() + 120
        while True:
            state = read_state(self.out / "journal.jsonl")
            if len(state.sessions) == session and any(trial.report for trial in state.under_way):
                return
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def resumes(self, seconds: float, before: dict[str, Any]) -> float:
        """Go on to the end, keeping what ended ``before``; seconds until trials are at work again."""
        began = time.monotonic()
        again = self.start(seconds, RESUMED)
        self.wait_for_step(2)
        until = time.monotonic() - began
        output, _ = again.communicate(timeout=240)
        assert again.returncode == 0, output
        self.finishes(output)
        assert all(self.ended()[trial] == event for trial, event in before.items())
        return until

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def finishes(self, output: str) -> None:
        """Every trial ended once, finished, and the front knows them."""
        assert set(self.ended()) == {f"small-{one}" for one in ("base", "ift", "ift_safety", 0, 1, 2)}, output
        ends = [event["id"] for event in read_journal(self.out / "journal.jsonl") if event["event"] == "trial_ended"]
        assert set(Counter(ends).values()) == {1}
        assert {event["status"] for event in self.ended().values()} == {"FINISHED"}
        assert sweep_status(self.out).state == "ended"
        assert len(json.loads((self.out / "front.json").read_text())["models"]["small"]["trials"]) == 3
        assert "Traceback" not in output


@pytest.fixture
def sweep(tmp_path: Path, empty_store: Path) -> Iterator[Sweep]:
    made = Sweep(tmp_path, empty_store)
    yield made
    made.end()


def test_the_driver_is_killed(sweep: Sweep, tell: Tell) -> None:
    process = sweep.start(4.0)
    lines_until(process, "small-base FINISHED")
    sweep.wait_for_step()
    assert dashboard_at(process.pid) == {"127.0.0.1"}, "for this machine alone"
    before = sweep.ended()
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    found = sweep_status(sweep.out)
    assert (found.state, "procon resume" in (found.reason or "")) == ("driver dead", True)
    noticed = time.monotonic() - began
    lost = noticed + sweep.resumes(4.0, before)
    tell(
        "SIGKILL of the driver",
        "nothing where it ran; `procon status`: its driver died without a word; go on with: procon resume",
        "every trial that ended; those under way go on from their checkpoints after the resume",
        lost,
    )


def test_a_trial_actor_is_killed(sweep: Sweep, tell: Tell) -> None:
    process = sweep.start(4.0)
    lines_until(process, "small-base FINISHED")
    sweep.wait_for_step()
    reported = len(read_journal(sweep.out / "journal.jsonl"))
    actors = [one for one in psutil.Process(process.pid).children(recursive=True) if "ImplicitFunc" in name(one)]
    assert actors
    began = time.monotonic()
    for actor in actors:
        actor.kill()
    while len(read_journal(sweep.out / "journal.jsonl")) == reported:
        assert time.monotonic() - began < 120
        time.sleep(0.05)
    lost = time.monotonic() - began
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    sweep.finishes(output)
    tell("SIGKILL of a trial's actor", "nothing", "the trial in its slot, which does not notice", lost)


@pytest.mark.parametrize("victim", ["gcs_server", "raylet"])
def test_ray_is_killed(sweep: Sweep, tell: Tell, victim: str) -> None:
    process = sweep.start(30.0)
    lines_until(process, "small-base FINISHED")
    before = sweep.ended()
    (found,) = [one for one in psutil.Process(process.pid).children(recursive=True) if one.name() == victim]
    began = time.monotonic()
    found.kill()
    output, _ = process.communicate(timeout=240)
    lost = time.monotonic() - began
    assert process.returncode == 1, output
    assert "procon resume" in output
    assert sweep_status(sweep.out).state == "stopped"
    assert all(sweep.ended()[trial] == event for trial, event in before.items())
    tell(
        f"SIGKILL of Ray's {victim.replace('_server', '').upper() if 'gcs' in victim else victim} (local Ray)",
        f"“{(sweep_status(sweep.out).reason or '').partition(':')[0]}”, and the command that goes on",
        "every trial that ended, checkpoints, and a report of them",
        lost,
    )


def test_the_mlflow_server_is_killed(sweep: Sweep, tell: Tell, tmp_path: Path) -> None:
    port = 5600 + os.getpid() % 300
    serve = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{sweep.out.parent}/mlflow.db"]
    serve += ["--port", str(port), "--workers", "1"]
    log = (tmp_path / "server.log").open("w")
    server = subprocess.Popen(serve, stdout=log, stderr=log, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}"
        healthy(address)
        listening = {one.laddr.ip for one in psutil.net_connections("tcp") if one.laddr.port == port if one.laddr}
        assert listening == {"127.0.0.1"}, "for this machine alone, unless somebody says otherwise"
        process = sweep.start(2.0, MLFLOW_TRACKING_URI=address)
        lines_until(process, "small-base FINISHED")
        os.killpg(server.pid, signal.SIGKILL)
        output, _ = process.communicate(timeout=300)
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    sweep.finishes(output)
    assert process.returncode == 0, output
    assert "does not take events" in output
    assert "could not be delivered; the journal has them all" in output
    tell(
        "SIGKILL of the MLflow server",
        "“MLflow … does not take events”; in the end how many wait, and `procon resume`, which delivers them",
        "everything: the sweep goes on, the journal has it all",
        0.0,
    )


def healthy(address: str) -> None:
    """Wait until the server answers."""
    import urllib.request

    deadline = time.monotonic() + 180
    while True:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.5)


def test_files_are_deleted_and_damaged_under_the_run(sweep: Sweep, tell: Tell) -> None:
    process = sweep.start(4.0)
    lines_until(process, "small-base FINISHED")
    sweep.wait_for_step()
    before = sweep.ended()
    began = time.monotonic()
    (sweep.out / "journal.jsonl").unlink()
    (sweep.out / "sweep.json").unlink()
    (sweep.out / "driver.lock").unlink()
    while not (sweep.out / "journal.jsonl").exists():
        assert time.monotonic() - began < 60
        time.sleep(0.02)
    lost = time.monotonic() - began
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    sweep.finishes(output)
    assert all(sweep.ended()[trial] == event for trial, event in before.items())
    assert "journal.jsonl was deleted while the sweep ran; it is written anew" in output
    tell(
        "journal, sweep.json and lock deleted under the run",
        "“journal.jsonl was deleted while the sweep ran; it is written anew”",
        "everything that the journal held",
        lost,
    )


def test_its_output_is_read_only(sweep: Sweep, tell: Tell) -> None:
    began = time.monotonic()
    code = PRETENDED.replace('"sweeps/out"', '"/proc/procon/out"')
    process = sweep.start(1.0, code)
    output, _ = process.communicate(timeout=240)
    assert process.returncode != 0
    assert "OutputError: --out (/proc/procon/out) cannot be created: " in output
    assert not psutil.Process().children(recursive=True), "no Ray stays behind"
    tell(
        "an output folder that cannot be written",
        "“--out (…) cannot be created”, exit code 2",
        "nothing was begun",
        time.monotonic() - began,
    )


def test_the_tail_of_the_journal_is_damaged(sweep: Sweep, tell: Tell) -> None:
    """As a machine leaves it that lost its power: half a line, and what a disk makes of the rest of a block."""
    process = sweep.start(2.0)
    lines_until(process, "small-base FINISHED")
    sweep.wait_for_step()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = sweep.ended()
    with (sweep.out / "journal.jsonl").open("ab") as file:
        file.write(b'{"event": "trial_ended", "id": "small-0", "sta' + bytes(300))
    lost = sweep.resumes(2.0, before)
    resumed = next(event for event in read_journal(sweep.out / "journal.jsonl") if event["event"] == "sweep_resumed")
    assert resumed["cut"] > 300
    tell(
        "a damaged tail of the journal",
        "nothing; `sweep_resumed` in the journal says how many bytes were cut off",
        "every event before it",
        lost,
    )


def dashboard_at(driver: int) -> set[str]:
    """The addresses at which the dashboard of the Ray that ``driver`` started can be reached.

    Beside it the same process hands out figures for Prometheus, at a port elsewhere.
    """
    found = set()
    for process in psutil.Process(driver).children(recursive=True):
        (port,) = [word.partition("=")[2] for word in name(process).split() if word.startswith("--port=")] or [""]
        if "dashboard.py " in name(process):
            there = [one.laddr for one in process.net_connections("tcp") if one.status == "LISTEN"]
            found |= {address.ip for address in there if int(port) <= address.port < int(port) + 100}
    return found


def name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
