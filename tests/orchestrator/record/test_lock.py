"""Whether somebody drives a sweep, asked of locks and processes as they really are."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import OutputError
from orchestrator.record.journal import Journal
from orchestrator.record.lock import driver_lives, is_driven
from orchestrator.record.sign import FRESH_SECONDS


def named(folder: Path, **changes: Any) -> None:
    """The lock file of a driver: this process on this host, with ``changes``."""
    (folder / "driver.lock").write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), **changes}))


@pytest.fixture
def gone() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_sweep_is_driven_while_its_journal_is_open_and_asking_takes_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    assert is_driven(tmp_path)
    journal.close()
    assert not is_driven(tmp_path)
    Journal(tmp_path / "journal.jsonl").close()


def test_a_folder_without_a_journal_is_no_sweep(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="holds no sweep"):
        is_driven(tmp_path)


def test_a_driver_lives_while_its_process_is_there_and_holds_the_journal(tmp_path: Path, gone: int) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    assert not driver_lives(tmp_path), "nobody says who it is"
    named(tmp_path)
    assert driver_lives(tmp_path)
    named(tmp_path, pid=gone)
    assert not driver_lives(tmp_path), "a new driver may be taking the lock"
    named(tmp_path, pid=gone, host="another")
    assert driver_lives(tmp_path), "a process of another host is not looked for here"
    journal.close()
    assert driver_lives(tmp_path), "its lock may not reach so far, and its sign of life is fresh"
    old = time.time() - 2 * FRESH_SECONDS
    os.utime(tmp_path / "driver.lock", (old, old))
    assert not driver_lives(tmp_path)
    named(tmp_path)
    assert not driver_lives(tmp_path), "the process lives, and drives something else"


@pytest.mark.parametrize("content", ["", "{", "[1"])
def test_a_damaged_lock_file_names_no_driver(tmp_path: Path, content: str) -> None:
    Journal(tmp_path / "journal.jsonl").close()
    (tmp_path / "driver.lock").write_text(content)
    assert not driver_lives(tmp_path)
