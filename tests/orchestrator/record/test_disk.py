"""Who waits for room on the disk, and for which errors."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.record import disk
from orchestrator.record.disk import is_full, once_there_is_room


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "PAUSE_SECONDS", 0.001)


def attempts(*errors: int) -> tuple[list[int], Callable[[], str]]:
    """How often a write was tried that fails with each of ``errors`` in turn and then succeeds, and that write."""
    tried: list[int] = []

    def write() -> str:
        tried.append(len(tried))
        if len(tried) <= len(errors):
            raise OSError(errors[len(tried) - 1], "no")
        return "written"

    return tried, write


@pytest.mark.parametrize("errors", [(errno.ENOSPC,), (errno.EDQUOT, errno.ENOSPC, errno.ENOSPC)])
def test_a_write_waits_for_room_and_says_so_once(errors: tuple[int, ...]) -> None:
    said: list[str | None] = []
    tried, write = attempts(*errors)
    assert once_there_is_room(write, Path("/runs/a"), said.append) == "written"
    assert len(tried) == len(errors) + 1
    assert said == ["the disk of /runs/a is full: the sweep waits until there is room again", None]


def test_a_write_that_succeeds_says_nothing() -> None:
    said: list[str | None] = []
    _, write = attempts()
    assert once_there_is_room(write, Path("/runs/a"), said.append) == "written"
    assert said == []


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO, errno.EROFS])
def test_no_other_error_is_waited_for(error: int) -> None:
    tried, write = attempts(error)
    with pytest.raises(OSError, match="no"):
        once_there_is_room(write, Path("/runs/a"), print)
    assert len(tried) == 1


def test_a_disk_is_full_where_little_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "LITTLE_BYTES", 1)
    assert not is_full(tmp_path)
    monkeypatch.setattr(disk, "LITTLE_BYTES", float("inf"))
    assert is_full(tmp_path)
