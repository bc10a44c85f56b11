"""What all tests share: a cache of embedded models of their own, so that a run neither uses nor fills the user's."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from s3_server import LocalS3

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


LONGEST = ("sweeps", "test_endings.py", "ranks", "test_matching.py", "test_checkpoint.py", "test_architectures.py")
"""Groups and files that take longest: they come first, so that nobody waits for one of them in the end."""


def pytest_configure() -> None:
    """Importing all modules leaves a million objects that stay: looking through them takes a second every time, and
    DeepSpeed asks for that several times an engine."""
    gc.disable()


def pytest_collection_finish() -> None:
    """From here on only what tests make is looked through."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of a file run in one process, but for those of a group (``xdist_group``), which share what is slow to
    start: a Ray that sweeps join, or the ranks of a training."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(str(item.path.relative_to(item.config.rootpath))))
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    (marker,) = item.iter_markers("xdist_group")
    name = Path(marker.args[0]).name
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Committed results that tests compare with are written anew on request."""
    parser.addoption("--write-golden", action="store_true", help="write tests/training/loop/golden anew")
    parser.addoption("--write-faults", action="store_true", help="write what tests/orchestrator/faults measure anew")


@pytest.fixture(scope="session", autouse=True)
def organism_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Embedded models are built once per test session, whichever of its processes needs one first."""
    with pytest.MonkeyPatch.context() as patch:
        own = tmp_path_factory.getbasetemp()
        cache = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "organism-cache"
        cache.mkdir(exist_ok=True)
        patch.setenv("PROCON_CACHE", str(cache))
        patch.setenv("PROCON_FRESH", "1")  # a test finds what it measures itself
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield cache


@pytest.fixture(scope="module")
def shared_s3() -> Iterator["LocalS3"]:
    """A store on this machine, found by this process and those that it starts."""
    from s3_server import local_s3

    with local_s3() as server:
        yield server


@pytest.fixture
def s3(shared_s3: "LocalS3", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["LocalS3"]:
    """The store, well again afterwards; this machine keeps what it has of it in the test's folder."""
    monkeypatch.setenv("PROCON_CACHE", str(tmp_path / "cache"))
    yield shared_s3
    shared_s3.out, shared_s3.slow, shared_s3.losing = False, 0.0, 0
