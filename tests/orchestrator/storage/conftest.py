"""A place in the store for each test."""

import pytest
from s3_server import BUCKET, LocalS3

from training.storage.bucket import Bucket


@pytest.fixture
def bucket(s3: LocalS3, request: pytest.FixtureRequest) -> Bucket:
    return Bucket(f"s3://{BUCKET}/{request.node.name.replace('[', '-').rstrip(']')}")
