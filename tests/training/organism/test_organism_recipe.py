import pytest

from training.config import ModelConfig
from training.errors import ModelError
from training.organism.recipe import EMBEDDED_MODELS, recipe_for


def model(path: str, seed: int = 0) -> ModelConfig:
    return ModelConfig(name="m", path=path, seed=seed)


def test_every_path_and_seed_has_a_hash_of_its_own() -> None:
    synthetic = [path for path in EMBEDDED_MODELS if path != "organism/real"]
    hashes = {recipe_for(model(path, seed)).hash for path in synthetic for seed in range(3)}
    assert len(hashes) == 3 * len(synthetic)
    assert recipe_for(model("organism", 2)).hash == recipe_for(model("organism", 2)).hash


def test_a_recipe_of_data_that_was_not_read_names_nothing() -> None:
    with pytest.raises(ValueError, match="before its data sources are read"):
        _ = recipe_for(model("organism/real")).hash


def test_depth_is_known_without_building() -> None:
    assert recipe_for(model("organism")).depth == 4
    assert recipe_for(model("organism/small")).depth == 3


def test_an_unknown_model_names_those_there_are() -> None:
    with pytest.raises(ModelError, match=r"organism/large.*organism, organism/small, organism/real"):
        recipe_for(model("organism/large"))
