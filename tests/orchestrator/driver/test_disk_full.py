"""A disk that is really full: a small file system in a mount namespace of its own."""

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from small_sweeps import Run, small_sweep

from orchestrator.record.journal import records
from orchestrator.record.trials import Status

SCENE = """
import sys, threading, time
from pathlib import Path
import orchestrator.record.disk
import orchestrator.record.journal as journals
orchestrator.record.disk.PAUSE_SECONDS = 0.05
folder = Path(sys.argv[1])
said = []
journal = journals.Journal(folder / "journal.jsonl", said.append)
ballast = folder / "ballast"
ballast.write_bytes(b"x" * 40_000)
pad = "y" * 700
writer = threading.Thread(target=lambda: [journal.append("note", text=f"{n} {pad}") for n in range(60)])
writer.start()
deadline = time.monotonic() + 20
while not said and time.monotonic() < deadline:
    time.sleep(0.01)
assert said and "is full" in said[0], said
kept = journals.read_journal(folder / "journal.jsonl")
assert 0 < len(kept) < 60, len(kept)
assert writer.is_alive()
ballast.unlink()
writer.join(20)
assert said[1:] == [None], said
kept = [event["text"].split()[0] for event in journals.read_journal(folder / "journal.jsonl")]
assert kept == [str(n) for n in range(60)]
print("all kept")
"""


PRIVATE = ["unshare", "--map-root-user", "--mount"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], tuple[Path, list[str]]]]:
    """Mounts a file system of the given size: its folder as we see it, and what a command inside it begins with."""
    holders: list[subprocess.Popen[str]] = []

    def mounted(size: str) -> tuple[Path, list[str]]:
        folder = tmp_path / "small"
        folder.mkdir()
        wait = f"mount -t tmpfs -o size={size} tmpfs {folder} && echo ready && exec sleep 900"
        if not (shutil.which("unshare") and shutil.which("nsenter")):
            pytest.skip("this machine has no unshare or nsenter")
        holder = subprocess.Popen([*PRIVATE, "sh", "-c", wait], stdout=subprocess.PIPE, text=True)
        holders.append(holder)
        assert holder.stdout is not None
        if holder.stdout.readline() != "ready\n":
            pytest.skip("this machine does not let us mount a small file system")
        inside = ["nsenter", "--target", str(holder.pid), "--user", "--mount", "--preserve-credentials", "--"]
        return Path(f"/proc/{holder.pid}/root{folder}"), inside

    yield mounted
    for holder in holders:
        holder.kill()
        holder.wait()


def test_a_journal_on_a_full_disk_waits_and_loses_nothing(
    small_disk: Callable[[str], tuple[Path, list[str]]], tmp_path: Path
) -> None:
    _, inside = small_disk("64k")
    command = [*inside, sys.executable, "-c", SCENE, str(tmp_path / "small")]
    found = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert found.stdout == "all kept\n", found.stderr


@pytest.mark.slow
def test_a_sweep_on_a_full_disk_waits_and_loses_nothing(
    small_disk: Callable[[str], tuple[Path, list[str]]], tmp_path: Path
) -> None:
    """Journal, checkpoints of the trials, answers and MLflow's store are all on the disk that is full for a while."""
    seen, inside = small_disk("160m")
    trial = {**small_sweep()["trial"], "steps": 60, "log_every": 1, "checkpoint_every": 4}
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(small_sweep(trial=trial, trials=2, resources={"max_concurrent": 1})))
    command = [*inside, sys.executable, "-m", "orchestrator", "run", str(spec), "--out", str(tmp_path / "small/out")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        run = Run(process, seen / "out")
        run.wait_for(lambda events: sum(event["event"] == "trial_reported" for event in events) > 20)
        ballast = seen / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        time.sleep(5)
        before = len(run.events)
        time.sleep(10)
        assert len(run.events) - before <= 1, "the sweep goes on though it can keep nothing"
        ballast.unlink()
        code, output = run.finish()
    finally:
        if process.poll() is None:
            process.kill()
    assert code == 0, output
    assert "is full: the trials wait until there is room again" in output  # or journal and answers, with "the sweep"
    assert "database or disk is full" in output, "of MLflow's store"
    assert "Traceback" not in output
    found = records(run.events)
    assert [record.status for record in found] == [Status.FINISHED] * 5
    assert all([step for step, _ in record.history] == list(range(1, 61)) for record in found if record.history)
