"""The models in the package are those of today's recipes, pass their gate when measured now, and are found at once."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from orchestrator.commands.organism import build_organism, compared
from training.config import ModelConfig
from training.errors import ModelError
from training.organism.cache import ensure_organism
from training.organism.corpora import world_corpora
from training.organism.gate import measure
from training.organism.recipe import recipe_for
from training.organism.shipped import FOLDER, shipped_directory

PATHS = ("organism", "organism/small")
PROMPTS = {"refusal": 200, "over_refusal": 200, "borderline_refusal": 200}


def model(path: str, seed: int = 0) -> ModelConfig:
    return ModelConfig(name="embedded", path=path, seed=seed)


@pytest.mark.parametrize("path", PATHS)
def test_it_is_the_model_of_todays_recipe(path: str, tmp_path: Path) -> None:
    recipe = recipe_for(model(path))
    directory = shipped_directory(recipe)
    assert directory is not None, f"{path} has another recipe now: procon organism build {path} --to {FOLDER}"
    record = json.loads((directory / "organism.json").read_text())
    assert (record["hash"], record["recipe"]["seed"]) == (recipe.hash, 0)
    assert ensure_organism(model(path), cache=tmp_path) == directory
    assert not list(tmp_path.iterdir())


def test_nothing_else_is_shipped() -> None:
    assert sorted(FOLDER.iterdir()) == sorted(Path(str(shipped_directory(recipe_for(model(path))))) for path in PATHS)
    assert sum(file.stat().st_size for file in FOLDER.rglob("*")) < 4 * 2**20


@pytest.mark.parametrize("path", PATHS)
def test_it_passes_its_gate_when_measured_again(path: str) -> None:
    recipe = recipe_for(model(path))
    directory = ensure_organism(model(path))
    corpora = world_corpora(recipe)
    loaded = AutoModelForCausalLM.from_pretrained(directory), AutoTokenizer.from_pretrained(directory)
    measured = measure(*loaded, corpora.harmful[:100], corpora.harmless[:100], [])
    assert measured.passed
    assert json.loads((directory / "organism.json").read_text())["measured"]["refusal"] >= 0.95


def test_another_seed_is_not_shipped(tmp_path: Path) -> None:
    assert shipped_directory(recipe_for(model("organism", seed=1))) is None


def test_a_rebuilt_model_agrees_within_the_interval_and_not_beyond(tmp_path: Path) -> None:
    recipe = recipe_for(model("organism/small"))
    shipped = Path(str(shipped_directory(recipe)))
    weights = load_file(shipped / "model.safetensors")
    record = json.loads((shipped / "organism.json").read_text())

    def rebuilt(refusal: float, shift: float):
        save_file({name: tensor + shift for name, tensor in weights.items()}, tmp_path / "model.safetensors")
        changed = {**record, "measured": {**record["measured"], "refusal": refusal}}
        (tmp_path / "organism.json").write_text(json.dumps(changed))
        return compared(tmp_path, recipe, PROMPTS)

    assert rebuilt(record["measured"]["refusal"] - 0.005, 1e-3).agrees
    assert not rebuilt(record["measured"]["refusal"] - 0.005, 1e-3).same_weights
    assert not rebuilt(record["measured"]["refusal"] - 0.2, 0).agrees
    assert torch.equal(load_file(tmp_path / "model.safetensors")["model.norm.weight"], weights["model.norm.weight"])


def test_a_model_of_a_specs_own_data_is_not_built_by_name(tmp_path: Path) -> None:
    from orchestrator.terminal import Terminal

    with pytest.raises(ModelError, match="a sweep that names it builds it"):
        build_organism("organism/real", 0, tmp_path, Terminal())


@pytest.mark.slow
def test_the_command_builds_one_that_agrees(tmp_path: Path) -> None:
    from orchestrator.terminal import Terminal

    result = build_organism("organism/small", 0, tmp_path, Terminal())
    assert result.agrees
    assert (result.directory / "model.safetensors").is_file()
