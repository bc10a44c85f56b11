"""A build that happens once, with builders that take no time: real processes, really killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training.errors import ModelError
from training.organism.cache import cache_root
from training.organism.once import build_once

# Leaves a mark in the directory beside, writes half, waits as long as it is told to, writes the rest.
BUILDER = """
import sys, time
from pathlib import Path
from training.organism.once import build_once
target, seconds = Path(sys.argv[1]), float(sys.argv[2])
def build(directory):
    with (target.parent / "builds.txt").open("a") as marks: marks.write("x")
    (directory / "first").write_text("half")
    time.sleep(seconds)
    (directory / "second").write_text("rest")
build_once(target, build, lambda stage, fraction: print(stage, flush=True))
"""


def start(target: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILDER, str(target), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_for(folder: Path, pattern: str) -> None:
    deadline = time.monotonic() + 30
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline, f"{pattern} never appeared"
        time.sleep(0.01)


def fill(directory: Path) -> None:
    (directory / "first").write_text("whole")


def quiet(_stage: str, _fraction: float) -> None:
    pass


def test_a_killed_build_leaves_nothing_half_made(tmp_path: Path) -> None:
    target = tmp_path / "model"
    process = start(target, 60)
    wait_for(tmp_path, ".model.partial-*/first")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not target.exists()
    build_once(target, fill, quiet)
    assert [file.name for file in target.iterdir()] == ["first"]
    assert not list(tmp_path.glob(".model.partial*"))


def test_processes_that_ask_at_once_build_once(tmp_path: Path) -> None:
    target = tmp_path / "model"
    first = start(target, 1.0)
    wait_for(tmp_path, "builds.txt")
    second = start(target, 0.0)
    outputs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert first.returncode == second.returncode == 0
    assert (tmp_path / "builds.txt").read_text() == "x"
    assert "waiting" in outputs[1]
    assert {file.name for file in target.iterdir()} == {"first", "second"}


def test_a_build_that_fails_leaves_nothing_and_the_next_one_succeeds(tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        fill(directory)
        raise RuntimeError("no")

    target = tmp_path / "model"
    with pytest.raises(RuntimeError):
        build_once(target, fail, quiet)
    assert [file.name for file in tmp_path.iterdir() if file.is_dir()] == []
    assert build_once(target, fill, quiet) == target


def test_what_is_there_is_not_built_again(tmp_path: Path) -> None:
    build_once(tmp_path / "model", fill, quiet)

    def never(_directory: Path) -> None:
        raise AssertionError

    build_once(tmp_path / "model", never, quiet)


def test_a_cache_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="PROCON_CACHE"):
        build_once(tmp_path / "file" / "model", fill, quiet)


def test_the_cache_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROCON_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    assert cache_root(tmp_path / "given") == tmp_path / "given"
    monkeypatch.delenv("PROCON_CACHE")
    assert cache_root().name == "procon-sweeps"
