"""A store on this machine."""

from collections.abc import Iterator

import pytest
from s3_server import LocalS3, local_s3


@pytest.fixture(scope="session")
def shared_s3() -> Iterator[LocalS3]:
    with local_s3() as server:
        yield server


@pytest.fixture
def s3(shared_s3: LocalS3) -> Iterator[LocalS3]:
    """The store, well again afterwards."""
    yield shared_s3
    shared_s3.out, shared_s3.slow, shared_s3.losing = False, 0.0, 0
