"""The small embedded model, built once for the whole session."""

from pathlib import Path

import pytest

from training.config import ModelConfig


@pytest.fixture(scope="session")
def organism_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("organism-cache")


@pytest.fixture(scope="session")
def small_organism(organism_cache: Path) -> Path:
    from training.organism.cache import ensure_organism

    return ensure_organism(ModelConfig(name="small", path="organism/small"), cache=organism_cache)
