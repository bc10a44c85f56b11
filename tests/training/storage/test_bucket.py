import sys
import threading
import time
from pathlib import Path

import pytest
from s3_server import BUCKET, LocalS3

from training.errors import StorageError
from training.storage import bucket as bucket_module
from training.storage.bucket import Bucket, Taken, Unreachable

ADDRESS = f"s3://{BUCKET}"


@pytest.fixture
def bucket(s3: LocalS3, request: pytest.FixtureRequest) -> Bucket:
    return Bucket(f"{ADDRESS}/{request.node.name}")


def test_objects_are_written_read_listed_and_removed(bucket: Bucket) -> None:
    assert bucket.read("a/b") is None
    bucket.write("a/b", b"one")
    bucket.write("a/b", b"two")
    bucket.write("ab", b"other")
    found = bucket.read("a/b")
    assert found is not None
    assert found.data == b"two"
    assert [entry.key for entry in bucket.entries()] == ["a/b", "ab"]
    assert [(entry.key, entry.size) for entry in bucket.entries("a")] == [("a/b", 3)]
    bucket.remove(["a/b", "never/there"])
    assert bucket.read("a/b") is None
    bucket.remove([])


def test_one_of_many_creates_and_one_exchanges(bucket: Bucket) -> None:
    won: list[int] = []

    def create(number: int) -> None:
        try:
            bucket.create("one", f"writer {number}".encode())
            won.append(number)
        except Taken:
            pass

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = bucket.read("one")
    assert found is not None
    assert [f"writer {number}".encode() for number in won] == [found.data]
    later = bucket.exchange("one", b"second", found.version)
    with pytest.raises(Taken):
        bucket.exchange("one", b"third", found.version)
    bucket.exchange("one", b"fourth", later)
    bucket.remove(["one"])
    with pytest.raises(Taken):
        bucket.exchange("one", b"fifth", later)


def test_files_go_up_and_come_down_in_pieces(
    bucket: Bucket, s3: LocalS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_module, "PIECE", 5 * 2**20)  # S3's smallest
    content = bytes(range(256)) * 50_000
    (tmp_path / "up").write_bytes(content)
    bucket.upload("large", tmp_path / "up")
    s3.requests.clear()
    bucket.download("large", tmp_path / "sub/down", len(content))
    assert (tmp_path / "sub/down").read_bytes() == content
    assert len(s3.requests) == 3
    with pytest.raises(StorageError):
        bucket.download("large", tmp_path / "more", len(content) + 1)
    with pytest.raises(StorageError, match="missing"):
        bucket.download("none", tmp_path / "more", 3)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["down", "sub", "up"]
    (tmp_path / "empty").touch()
    bucket.upload("empty", tmp_path / "empty")
    bucket.download("empty", tmp_path / "empty-too", 0)
    assert (tmp_path / "empty-too").read_bytes() == b""


def test_an_outage_is_told_and_sat_out(bucket: Bucket, s3: LocalS3) -> None:
    said: list[str | None] = []
    bucket.tell = said.append
    s3.out = True
    threading.Timer(5.0, lambda: setattr(s3, "out", False)).start()
    bucket.write("late", b"there")
    assert len(said) == 2
    assert said[0] is not None
    assert "cannot be reached (writing late" in said[0]
    assert said[1] is None
    found = bucket.read("late")
    assert found is not None
    assert found.data == b"there"


def test_patience_ends(bucket: Bucket, s3: LocalS3) -> None:
    s3.out = True
    bucket.patience = 1.0
    began = time.monotonic()
    with pytest.raises(Unreachable, match="503"):
        bucket.read("a")
    assert time.monotonic() - began < 3.0


def test_a_write_whose_answer_was_lost_is_not_taken_for_another_writers(bucket: Bucket, s3: LocalS3) -> None:
    s3.losing = 1
    version = bucket.create("one", b"first")
    assert s3.losing == 0
    s3.losing = 1
    bucket.exchange("one", b"second", version)
    found = bucket.read("one")
    assert found is not None
    assert found.data == b"second"


def test_a_slow_store_is_waited_for(bucket: Bucket, s3: LocalS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_module, "REQUEST_SECONDS", 1.0)
    s3.slow = 1.5
    slow = Bucket(bucket.address)
    threading.Timer(2.0, lambda: setattr(s3, "slow", 0.0)).start()
    slow.write("a", b"1")
    assert slow.read("a") is not None


def test_what_no_patience_helps_against_is_refused_at_once(
    s3: LocalS3, monkeypatch: pytest.MonkeyPatch, bucket: Bucket
) -> None:
    began = time.monotonic()
    nowhere = Bucket("s3://no-such-bucket/a")
    for request in (lambda: nowhere.read("a"), nowhere.entries, lambda: nowhere.create("a", b"1")):
        with pytest.raises(StorageError, match="no such bucket: make it first"):
            request()
    assert time.monotonic() - began < 2.0
    with pytest.raises(StorageError, match=r"cannot be opened.*Account"):
        Bucket("abfs://container/a")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Unreachable, match="AWS_ENDPOINT_URL") as refused:
        Bucket(bucket.address, patience=0.5).read("a")
    assert "secret" not in str(refused.value)
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(StorageError, match=r"pip install 'procon-sweeps\[buckets\]'"):
        Bucket(bucket.address)
