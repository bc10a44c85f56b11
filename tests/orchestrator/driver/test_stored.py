"""A driver's time with a sweep in a bucket, from its first line to another machine's; the sweep itself is elsewhere."""

import json
import os
import shutil
from pathlib import Path

import pytest
from command_line import procon
from s3_server import BUCKET, KEYS, LocalS3
from small_sweeps import small_sweep

from orchestrator.driver.session import Session
from orchestrator.driver.stored import StoredSweep, check_new, reconciled
from orchestrator.driver.watch import Watch
from orchestrator.errors import OutputError
from orchestrator.record.journal import read_journal
from orchestrator.record.lock import driver_lives
from orchestrator.storage import lease as lease_module
from sweeps.schema.spec import SweepSpec
from training.errors import StorageError
from training.storage.address import READ, local_folder, made_local_folder
from training.storage.bucket import Bucket


@pytest.fixture
def address(s3: LocalS3, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.chdir(tmp_path)  # where MLflow's store would be
    return f"s3://{BUCKET}/{request.node.name}"


def begun(address: str) -> Session:
    """A sweep with one trial that ended and one under way."""
    session = Session.new(SweepSpec.model_validate(small_sweep()), address).open()
    same = {"model": "small", "kind": "trial", "params": {}, "trial": None}
    session.journal.append("trial_started", id="small-0", label="0", **same)
    session.journal.append("trial_ended", id="small-0", status="FINISHED", metrics={}, counts={}, error=None)
    session.journal.append("trial_started", id="small-1", label="1", **same)
    (session.directory / "answers").mkdir()
    (session.directory / "answers/small-0.parquet").write_text("what it said")
    return session


def delivered(session: Session) -> None:
    assert session.stored is not None
    assert session.stored.deliver(pytest.fail)


def test_forks_are_refused_there(address: str) -> None:
    """Trials begin from others' checkpoints only where all machines see the folder."""
    spec = SweepSpec.model_validate(small_sweep(searcher={"forks": True}))
    with pytest.raises(
        OutputError, match=r"searcher\.forks \(true\) needs an output folder .* leave searcher\.forks out"
    ):
        Session.new(spec, address)
    assert Bucket(address).is_empty()
    session = begun(address)
    try:
        assert not session.in_folder
    finally:
        session.close()


def test_another_machine_goes_on_with_all_there_was(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = begun(address)
    delivered(first)
    keys = {entry.key for entry in Bucket(address).entries()}
    assert keys == {"driver.json", "journal/000001.jsonl", "sweep.json", "answers/small-0.parquet"}
    assert driver_lives(made_local_folder(address, READ))
    with pytest.raises(OutputError, match=r"in use: process .* procon stop"):
        Session.again(made_local_folder(address))
    with pytest.raises(OutputError, match=r"is not empty.*procon resume goes on"):
        Session.new(SweepSpec.model_validate(small_sweep()), address)
    first.close()
    shutil.rmtree(first.directory)
    again = Session.again(made_local_folder(address)).open()
    assert {record.id: record.status.value for record in again.known} == {"small-0": "FINISHED", "small-1": "RUNNING"}
    assert (again.directory / "answers/small-0.parquet").read_text() == "what it said"
    assert again.events[-1]["event"] == "sweep_resumed"
    delivered(again)
    again.close()
    assert not driver_lives(made_local_folder(address, READ))


def test_what_a_dead_driver_did_not_get_out_is_delivered_by_the_next_one_here(address: str, s3: LocalS3) -> None:
    first = begun(address)
    delivered(first)
    first.journal.append("note", text="on this machine alone")
    first.close()
    told: list[str] = []
    again = Session.again(made_local_folder(address), say=told.append).open()
    assert told == ["1 events of the last driver here had not reached the bucket; they do now"]
    delivered(again)
    again.close()
    shutil.rmtree(again.directory)
    later = Session.again(made_local_folder(address))
    assert "on this machine alone" in [event.get("text") for event in later.events]
    later.close()


def test_what_is_refused_leaves_nothing_in_the_bucket(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(Exception, match="MLFLOW_TRACKING_URI"):
        Session.new(SweepSpec.model_validate(small_sweep()), address)
    assert Bucket(address).is_empty()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    session = begun(address)
    delivered(session)
    session.close()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(Exception, match="MLFLOW_TRACKING_URI"):
        Session.again(made_local_folder(address))
    assert not driver_lives(made_local_folder(address, READ)), "it is free for whoever comes next"
    events = read_journal(made_local_folder(address) / "journal.jsonl")
    assert [event["event"] for event in events] == [event["event"] for event in session.events] + [
        "trial_started",
        "trial_ended",
        "trial_started",
    ]


def test_a_stop_request_reaches_the_driver_through_the_bucket(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "BEAT_SECONDS", 0.2)
    session = begun(address)
    delivered(session)
    asked: list[str] = []
    with Watch(session.directory, lambda: None, lambda: None, asked.append):
        done = procon("stop", address, "--wait", "0", folder=Path.cwd())
        assert done.returncode == 0, done.stderr
        for _ in range(100):
            if asked:
                break
            lease_module.threading.Event().wait(0.1)
    assert asked == ["procon stop asked for it"]
    session.close()
    refused = procon("stop", address, folder=Path.cwd())
    assert (refused.returncode, "is not running: nothing to stop" in refused.stderr) == (2, True)
    again = Session.again(made_local_folder(address)).open()
    assert Bucket(address).read(lease_module.STOP) is None, "it was of the driver before"
    again.close()


def test_no_key_gets_into_the_bucket_the_local_folder_or_a_message(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    session = begun(address)
    session.journal.append("note", text=f"refused: {KEYS['AWS_SECRET_ACCESS_KEY']} of {KEYS['AWS_ACCESS_KEY_ID']}")
    delivered(session)
    session.close()
    bucket = Bucket(address)
    contents = [stored.data for entry in bucket.entries() if (stored := bucket.read(entry.key)) is not None]
    contents += [file.read_bytes() for file in session.directory.rglob("*") if file.is_file()]
    assert any(b"refused: ***" in content for content in contents)
    done = procon("status", address, folder=Path.cwd())
    assert "small" in done.stdout, done.stderr
    for value in KEYS.values():
        assert not any(value.encode() in content for content in contents)
        assert value not in done.stdout + done.stderr


def test_a_store_without_conditional_writes_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bucket, "create", Bucket.write)
    with pytest.raises(OutputError, match="overwrites what is to be written only once"):
        check_new(address)
    monkeypatch.undo()


def test_a_sweep_that_is_nowhere_is_refused(address: str) -> None:
    with pytest.raises(OutputError, match="holds no sweep"):
        StoredSweep.again(address)
    assert Bucket(address).is_empty()
    with pytest.raises(StorageError, match="no such bucket"):
        check_new("s3://no-such-bucket/a")
    assert not local_folder("s3://no-such-bucket/a").exists()


def test_reading_from_another_machine_names_the_address_everywhere(address: str) -> None:
    session = begun(address)
    delivered(session)
    session.close()
    found = json.loads(procon("status", address, "--json", folder=Path.cwd()).stdout)
    assert (found["directory"], found["state"], found["counts"]["finished"]) == (address, "driver dead", 1)
    assert f"procon resume {address}" in found["reason"]
    missing = procon("answers", address, "--trial", "nothing", folder=Path.cwd())
    assert missing.returncode == 2
    assert address in missing.stderr
    assert os.environ["PROCON_CACHE"] not in missing.stderr


def lines(*names: str) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()


@pytest.mark.parametrize(
    ("here", "there", "then"),
    [
        (None, lines("a"), lines("a")),
        (lines("a"), lines("a"), lines("a")),
        (lines("a"), lines("a", "b"), lines("a", "b")),
        (lines("a") + b"half", lines("a", "b"), lines("a", "b")),
    ],
)
def test_the_local_journal_is_brought_up_to_the_buckets(
    tmp_path: Path, here: bytes | None, there: bytes, then: bytes
) -> None:
    journal = tmp_path / "journal.jsonl"
    if here is not None:
        journal.write_bytes(here)
    assert reconciled(journal, there) == []
    assert journal.read_bytes() == then


def test_what_the_bucket_never_heard_is_kept_and_said(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(lines("a", "b", "c"))
    said = reconciled(journal, lines("a"))
    assert said == ["2 events of the last driver here had not reached the bucket; they do now"]
    assert journal.read_bytes() == lines("a", "b", "c")


def test_what_was_overtaken_elsewhere_is_put_aside(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(lines("a", "mine"))
    (sentence,) = reconciled(journal, lines("a", "theirs"))
    assert journal.read_bytes() == lines("a", "theirs")
    aside = Path(sentence.rpartition(" is in ")[2])
    assert aside.read_bytes() == lines("a", "mine")
    assert aside.name.startswith("."), "it is not carried into the bucket"
