import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from s3_server import LocalS3

from orchestrator.record.pulled import pulled
from orchestrator.storage import courier as courier_module
from orchestrator.storage.courier import Courier
from orchestrator.storage.files import Uploads
from orchestrator.storage.parts import Parts
from training.errors import StorageError
from training.storage.bucket import Bucket


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier_module, "EVERY_SECONDS", 0.05)
    monkeypatch.setattr(courier_module, "PATIENCE", 0.2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "sweep"
    (folder / "answers").mkdir(parents=True)
    (folder / "journal.jsonl").touch()
    return folder


@pytest.fixture
def courier(bucket: Bucket, folder: Path) -> Courier:
    return Courier(bucket, folder / "journal.jsonl", Parts(bucket), Uploads(bucket, folder))


def record(folder: Path, **event: object) -> None:
    with (folder / "journal.jsonl").open("a") as file:
        file.write(json.dumps(event) + "\n")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_reader_finds_what_the_driver_wrote_and_nothing_of_its_machine(
    bucket: Bucket, folder: Path, courier: Courier
) -> None:
    courier.start(lambda _sentence: None)
    (folder / "driver.lock").write_text("{}")
    (folder / ".address").write_text("here")
    (folder / "ray").mkdir()
    (folder / "ray/broker.jsonl").write_text("x")
    (folder / "sweep.json").write_text("{}")
    (folder / "answers/a.parquet").write_text("first")
    record(folder, event="trial_ended", id="a")
    wait_for(lambda: bool(bucket.entries("journal")))
    read = pulled(bucket.address)
    assert (read / "journal.jsonl").read_bytes() == (folder / "journal.jsonl").read_bytes()
    assert (read / "answers/a.parquet").read_text() == "first"
    (folder / "answers/a.parquet").write_text("later on")
    record(folder, event="trial_ended", id="b")
    assert courier.deliver(20)
    assert (pulled(bucket.address) / "answers/a.parquet").read_text() == "later on"
    keys = {entry.key for entry in bucket.entries()}
    assert keys == {"answers/a.parquet", "journal/000001.jsonl", "sweep.json"}


def test_answers_are_there_before_the_line_that_tells_of_them(
    bucket: Bucket, folder: Path, courier: Courier, s3: LocalS3
) -> None:
    for n in range(5):
        (folder / f"answers/{n}.parquet").write_text("x")
        record(folder, event="trial_ended", id=str(n))
    s3.requests.clear()
    assert courier.deliver(20)
    written = [path.rpartition("?")[0] or path for method, path in s3.requests if method == "PUT"]
    assert len(written) == 6
    assert "journal" in written[-1]


def test_what_is_removed_stays_until_the_journal_says_why(
    bucket: Bucket, folder: Path, courier: Courier, s3: LocalS3
) -> None:
    bucket.write("checkpoints/a/step-1/x", b"1")
    bucket.write("checkpoints/ab/step-1/x", b"1")
    record(folder, event="trial_ended", id="a")
    courier.remove("checkpoints/a")
    s3.requests.clear()
    assert courier.deliver(20)
    methods = [method for method, path in s3.requests if "list-type" not in path]
    assert methods[0] == "PUT"
    assert [entry.key for entry in bucket.entries("checkpoints")] == ["checkpoints/ab/step-1/x"]


def test_an_outage_holds_nothing_up_and_is_told_once(
    bucket: Bucket, folder: Path, courier: Courier, s3: LocalS3
) -> None:
    said: list[str | None] = []
    s3.out = True
    courier.start(said.append)
    for n in range(3):
        record(folder, event="note", text=str(n))
        time.sleep(0.4)
    assert courier.fault is None
    assert len(said) == 1
    assert "the sweep goes on" in str(said[0])
    s3.out = False
    wait_for(lambda: said[-1] is None)
    assert courier.deliver(20)
    assert Parts.read(bucket)[1] == (folder / "journal.jsonl").read_bytes()


def test_delivery_ends_where_the_store_stays_out(folder: Path, courier: Courier, s3: LocalS3) -> None:
    record(folder, event="note", text="x")
    s3.out = True
    assert not courier.deliver(1.0)
    assert courier.fault is None


def test_a_driver_that_was_overtaken_writes_nothing_more(bucket: Bucket, folder: Path, courier: Courier) -> None:
    record(folder, event="sweep_started")
    courier.start(lambda _sentence: None)
    wait_for(lambda: bool(bucket.entries("journal")))
    other = folder.with_name("other.jsonl")
    other.write_bytes((folder / "journal.jsonl").read_bytes() + b'{"event": "sweep_resumed"}\n')
    Parts.read(bucket)[0].carry(other, other.stat().st_size)
    record(folder, event="note", text="of the one that was cut off")
    wait_for(lambda: courier.fault is not None)
    assert "another driver writes the journal" in str(courier.fault)
    courier.remove("answers")
    assert not courier.deliver(5)
    assert Parts.read(bucket)[1] == other.read_bytes()


def test_a_lost_answer_is_no_second_driver(bucket: Bucket, folder: Path, courier: Courier, s3: LocalS3) -> None:
    record(folder, event="one")
    s3.losing = 3
    assert courier.deliver(20)
    assert courier.fault is None
    assert Parts.read(bucket)[1] == b'{"event": "one"}\n'


def test_keys_that_were_taken_away_are_an_outage_and_no_end(
    folder: Path, courier: Courier, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str | None] = []

    def refused(*_: object) -> None:
        raise StorageError("s3://b/a: access is refused (ExpiredToken)")

    monkeypatch.setattr(courier.uploads, "carry", refused)
    courier.start(said.append)
    wait_for(lambda: bool(said))
    assert courier.fault is None
    monkeypatch.undo()
    wait_for(lambda: said[-1] is None)
    courier.stop()
