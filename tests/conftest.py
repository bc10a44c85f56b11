"""What all tests share: a cache of embedded models of their own, so that a run neither uses nor fills the user's."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Committed results that tests compare with are written anew on request."""
    parser.addoption("--write-golden", action="store_true", help="write tests/training/golden anew")


@pytest.fixture(scope="session", autouse=True)
def organism_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Embedded models are built once per test session, whichever of its processes needs one first."""
    with pytest.MonkeyPatch.context() as patch:
        own = tmp_path_factory.getbasetemp()
        cache = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "organism-cache"
        cache.mkdir(exist_ok=True)
        patch.setenv("PROCON_CACHE", str(cache))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield cache
