import random
from pathlib import Path

import pytest
from s3_server import LocalS3

from orchestrator.storage import parts as parts_module
from orchestrator.storage.files import Known
from orchestrator.storage.parts import Parts, fetch_journal
from training.errors import StorageError
from training.storage.bucket import Bucket, Taken


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "LARGEST", 100)


def grow(journal: Path, *lines: str) -> int:
    with journal.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)
    return journal.stat().st_size


def fetched(bucket: Bucket, folder: Path) -> str:
    known = Known.of(folder)
    fetch_journal(bucket, folder / "read.jsonl", known)
    known.keep()
    return (folder / "read.jsonl").read_text()


def test_what_is_carried_in_steps_is_read_whole_by_reader_and_next_driver(bucket: Bucket, tmp_path: Path) -> None:
    journal, luck = tmp_path / "journal.jsonl", random.Random(0)
    journal.touch()
    parts = Parts(bucket)
    for step in range(25):
        lines = [f"{step}-{n} " + "x" * luck.randrange(60) for n in range(luck.randrange(6))]
        parts.carry(journal, grow(journal, *lines))
        if step % 5 == 0:
            parts, content = Parts.read(bucket)
            assert content == journal.read_bytes()
        assert parts.carried == journal.stat().st_size
        if parts.carried:
            assert fetched(bucket, tmp_path) == journal.read_text()
    entries = bucket.entries("journal")
    assert len(entries) > 10
    assert all(100 <= entry.size < 200 for entry in entries[:-1])


def test_a_line_that_is_being_written_waits(bucket: Bucket, tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    grow(journal, "one")
    with journal.open("a") as file:
        file.write("half")
    parts = Parts(bucket)
    parts.carry(journal, journal.stat().st_size)
    assert Parts.read(bucket)[1] == b"one\n"
    grow(journal, "", "two")
    parts.carry(journal, len("one\nhalf\n"))
    assert Parts.read(bucket)[1] == b"one\nhalf\n", "what came after the files were looked at waits for the next time"


@pytest.mark.parametrize("before", [10, 99, 100, 300])
def test_of_two_writers_only_one_gets_through(bucket: Bucket, tmp_path: Path, before: int) -> None:
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    for journal in (one, other):
        grow(journal, "x" * (before - 1))
    Parts(bucket).carry(one, before)
    (first, _), (second, _) = Parts.read(bucket), Parts.read(bucket)
    second.carry(other, grow(other, "of the second"))
    with pytest.raises(Taken):
        first.carry(one, grow(one, "of the first"))
    assert Parts.read(bucket)[1] == other.read_bytes()


@pytest.mark.parametrize("before", [0, 60, 99, 250])
def test_a_write_that_was_given_up_and_yet_arrived_is_ones_own(
    bucket: Bucket, s3: LocalS3, tmp_path: Path, before: int
) -> None:
    journal = tmp_path / "journal.jsonl"
    journal.touch()
    parts = Parts(bucket)
    if before:
        parts.carry(journal, grow(journal, "x" * (before - 1)))
    bucket.patience, s3.losing = 0.0, 1
    with pytest.raises(StorageError, match="cannot be reached"):
        parts.carry(journal, grow(journal, "first"))
    bucket.patience = 5.0
    parts.carry(journal, grow(journal, "second"))
    assert Parts.read(bucket)[1] == journal.read_bytes()


def test_a_reader_fetches_only_what_is_new(bucket: Bucket, tmp_path: Path, s3: LocalS3) -> None:
    journal = tmp_path / "journal.jsonl"
    parts = Parts(bucket)
    for n in range(12):
        parts.carry(journal, grow(journal, f"{n} " + "x" * 98))
    assert fetched(bucket, tmp_path) == journal.read_text()
    parts.carry(journal, grow(journal, "last"))
    s3.requests.clear()
    assert fetched(bucket, tmp_path) == journal.read_text()
    assert len(s3.requests) == 2, "the list, and the part that is new"
