"""A driver's signs of life, in real files, between processes that pretend to be of two machines."""

import json
import socket
import threading
import time
from pathlib import Path

import pytest

from orchestrator.errors import OutputError
from orchestrator.record import sign
from orchestrator.record.folder import LOCK
from orchestrator.record.sign import Sign, is_fresh, refuse_living


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(sign, "PATIENCE_SECONDS", 2.0)


def content(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / LOCK).read_text(encoding="utf-8")))


def as_if_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, this machine is another one."""
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")


def test_it_is_renewed_until_it_is_released(tmp_path: Path) -> None:
    given = Sign(tmp_path)
    begin, before = time.monotonic(), content(tmp_path)
    while content(tmp_path) == before:
        assert time.monotonic() - begin < 20
        time.sleep(0.01)
    given.release()
    assert not (tmp_path / LOCK).exists()
    assert given.fault is None


def test_who_finds_the_name_of_another_is_told_and_leaves_it_there(tmp_path: Path) -> None:
    told: list[str] = []
    lost = threading.Event()

    def on_lost(sentence: str) -> None:
        told.append(sentence)
        lost.set()

    first = Sign(tmp_path, on_lost)
    second = Sign(tmp_path)
    assert lost.wait(20)
    assert told == [first.fault]
    assert "has taken" in told[0]
    first.release()
    assert (tmp_path / LOCK).exists()
    assert second.fault is None
    second.release()


def test_a_living_driver_of_another_machine_is_refused_and_a_dead_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_living(tmp_path)  # nobody ever drove it
    given, said = Sign(tmp_path), list[str]()
    refuse_living(tmp_path, said.append)
    assert not said, "of this machine the lock of the journal tells"
    assert not is_fresh(tmp_path)
    as_if_elsewhere(monkeypatch)
    with pytest.raises(OutputError, match="is in use: process"):
        refuse_living(tmp_path, said.append)
    assert "waiting 2 s for a sign of its life" in said[0]
    assert is_fresh(tmp_path)
    left = (tmp_path / LOCK).read_text(encoding="utf-8")
    given.release()
    refuse_living(tmp_path)
    (tmp_path / LOCK).write_text(left, encoding="utf-8")  # as a killed driver leaves it
    refuse_living(tmp_path)
