"""Where a model is: embedded or not, there or not."""

import json
import os
from pathlib import Path

import pytest

from training.config import DataConfig, ModelConfig, Source
from training.errors import ModelError
from training.models.located import local_directory, model_path
from training.organism.cache import build_seconds, cached_organisms, organism_directory
from training.organism.recipe import BUILD_SECONDS
from training.organism.shipped import FOLDER

DATA = DataConfig(
    **{name: Source(path=f"organism/{name}") for name in ("safety", "harmful", "harmless", "borderline")},
    task=Source(path="organism/general"),
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROCON_CACHE", str(tmp_path))
    return tmp_path / "organisms"


def model(path: str, seed: int = 0) -> ModelConfig:
    return ModelConfig(name="m", path=path, seed=seed)


def cached(folder: Path, *, path: str, seconds: float, age: float = 0.0) -> Path:
    """A built model as far as anybody asks who does not load it."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    record = folder / "organism.json"
    record.write_text(json.dumps({"recipe": {"path": path}, "seconds": seconds}))
    os.utime(record, (1e9 - age, 1e9 - age))
    return folder


def test_a_folder_is_where_it_is_and_a_hub_id_is_nowhere_here(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    here = model(str(tmp_path / "weights"))
    assert (model_path(here, DATA), local_directory(here, DATA)) == (here.path, tmp_path / "weights")
    hub = model("some/model")
    assert (model_path(hub, DATA), local_directory(hub, DATA)) == ("some/model", None)


@pytest.mark.parametrize("path", ["organism", "organism/small"])
def test_a_shipped_model_is_in_the_package(path: str) -> None:
    folder = local_directory(model(path), DATA)
    assert folder is not None
    assert folder.parent == FOLDER
    assert model_path(model(path), DATA) == str(folder)


def test_a_model_of_another_seed_is_nowhere_until_it_is_in_the_cache(cache: Path) -> None:
    seeded = model("organism/small", 7)
    assert local_directory(seeded, DATA) is None
    folder = cached(organism_directory(seeded), path="organism/small", seconds=1.0)
    assert folder.parent == cache
    assert local_directory(seeded, DATA) == folder
    told: list[str] = []
    assert model_path(seeded, DATA, lambda stage, _done: told.append(stage)) == str(folder)
    assert told == [], "nothing was built"
    assert local_directory(model("organism/small", 8), DATA) is None


def test_an_embedded_model_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ModelError, match="no embedded model"):
        local_directory(model("organism/large"), DATA)


def test_a_build_takes_as_long_as_the_last_of_its_kind(cache: Path) -> None:
    assert build_seconds(model("organism")) == BUILD_SECONDS["organism"]
    cached(cache / "organism-small-1", path="organism/small", seconds=7.0)
    assert build_seconds(model("organism")) == BUILD_SECONDS["organism"], "its name begins alike, and it is another"
    cached(cache / "organism-2", path="organism", seconds=30.0, age=50.0)
    cached(cache / "organism-1", path="organism", seconds=20.0, age=60.0)
    assert build_seconds(model("organism")) == 30.0
    (cache / "organism-2" / "organism.json").write_text("{")
    assert build_seconds(model("organism")) == 20.0


def test_a_folder_without_a_model_is_told_apart(cache: Path) -> None:
    assert cached_organisms() == ([], [])
    whole = cached(cache / "organism-1", path="organism", seconds=1.0)
    (cache / "organism-2").mkdir()
    assert cached_organisms() == ([whole], [cache / "organism-2"])
