"""A store on this machine, and a place in it for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import BUCKET, LocalS3, local_s3

from training.storage.bucket import Bucket


@pytest.fixture(scope="module")
def shared_s3() -> Iterator[LocalS3]:
    with local_s3() as server:
        yield server


@pytest.fixture
def s3(shared_s3: LocalS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalS3]:
    """The store, well again afterwards; this machine keeps what it has of it in the test's folder."""
    monkeypatch.setenv("PROCON_CACHE", str(tmp_path / "cache"))
    yield shared_s3
    shared_s3.out, shared_s3.slow, shared_s3.losing = False, 0.0, 0


@pytest.fixture
def bucket(s3: LocalS3, request: pytest.FixtureRequest) -> Bucket:
    return Bucket(f"s3://{BUCKET}/{request.node.name}")
