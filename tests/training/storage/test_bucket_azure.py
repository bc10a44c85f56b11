"""The same operations by Azure's protocol; skipped where its server is not installed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from azure_server import CONTAINER, local_azure
from test_bucket import (  # noqa: F401 - the same tests, with the bucket of this file
    test_objects_are_written_read_listed_and_removed,
    test_one_of_many_creates_and_one_exchanges,
)

from training.errors import StorageError
from training.storage import bucket as bucket_module
from training.storage.bucket import Bucket


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with local_azure(tmp_path_factory.mktemp("azurite")):
        yield


@pytest.fixture
def bucket(azure: None, request: pytest.FixtureRequest) -> Bucket:
    return Bucket(f"abfs://{CONTAINER}/{request.node.name}")


def test_files_go_up_and_come_down_in_pieces(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_module, "PIECE", 5 * 2**20)
    content = bytes(range(256)) * 50_000
    (tmp_path / "up").write_bytes(content)
    bucket.upload("large", tmp_path / "up")
    bucket.download("large", tmp_path / "sub/down", len(content))
    assert (tmp_path / "sub/down").read_bytes() == content
    with pytest.raises(StorageError):
        bucket.download("large", tmp_path / "more", len(content) + 1)
    with pytest.raises(StorageError, match="missing"):
        bucket.download("none", tmp_path / "more", 3)


def test_a_container_that_is_not_there_is_refused_in_a_sentence(azure: None) -> None:
    with pytest.raises(StorageError, match="abfs://nowhere"):
        Bucket("abfs://nowhere/place").read("one")


def test_a_wrong_key_is_refused_without_being_told(azure: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "d3Jvbmcga2V5IG9mIHRoZSB0ZXN0cw==")
    with pytest.raises(StorageError) as refused:
        Bucket(f"abfs://{CONTAINER}/place").read("one")
    assert "d3Jvbmcga2V5" not in str(refused.value)
    print(refused.value)
