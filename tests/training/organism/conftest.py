"""The small embedded model, as the package has it."""

from pathlib import Path

import pytest

from training.config import ModelConfig


@pytest.fixture(scope="session")
def small_organism() -> Path:
    from training.organism.cache import ensure_organism

    return ensure_organism(ModelConfig(name="small", path="organism/small"))
