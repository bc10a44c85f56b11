"""How a model that is made of data is found and named: by what is in the data, in one place."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from model_folders import WORDS
from small_sweeps import small_sweep

from orchestrator.commands.plan.estimate import make_plan
from orchestrator.record.fingerprints import model_hash
from orchestrator.record.manifest import manifest
from sweeps.schema.load import load_spec
from sweeps.schema.spec import SweepSpec
from training.organism.cache import organism_directory
from training.organism.tokens import train_tokenizer


@pytest.fixture
def on_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepSpec:
    """A sweep over organism/real and files of one's own, with an empty cache."""
    monkeypatch.setenv("PROCON_CACHE", str(tmp_path / "cache"))
    data: dict[str, Any] = {}
    for name in ("task", "safety", "harmful", "harmless", "borderline"):
        rows = [
            {"prompt": f"{name} {split} {n}", "response": "A.", "split": split}
            for split in ("train", "test")
            for n in range(40)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        data[name] = {"path": f"{name}.jsonl"}
    spec = small_sweep(models=[{"name": "real", "path": "organism/real"}], data=data)
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    return load_spec(tmp_path / "spec.yaml")


def test_plan_says_truthfully_whether_the_model_is_built(on_real: SweepSpec, tmp_path: Path) -> None:
    assert not make_plan(on_real, None, runs=tmp_path / "runs").models[0].built
    built = organism_directory(on_real.models[0], on_real.data)
    train_tokenizer(WORDS, 300).save_pretrained(built)  # what ensure_organism leaves, but for the weights
    assert make_plan(on_real, None, runs=tmp_path / "runs").models[0].built
    rows = Path(str(on_real.data.task.path))
    rows.write_text(rows.read_text().replace('"A."', '"B."'))
    assert not make_plan(on_real, None, runs=tmp_path / "runs").models[0].built, "other data, another model"


def test_the_recorded_hash_follows_the_content_and_not_the_place(on_real: SweepSpec, tmp_path: Path) -> None:
    (model,) = on_real.models
    first = manifest(on_real)["models"]["real"]
    assert first is not None
    (tmp_path / "elsewhere").mkdir()
    moved = {}
    for name, source in on_real.data.sources.items():
        copy = tmp_path / "elsewhere" / f"{name}.jsonl"
        shutil.copy(str(source.path), copy)
        moved[name] = source.model_copy(update={"path": str(copy)})
    assert model_hash(model, on_real.data.with_sources(moved)) == first
    rows = Path(str(on_real.data.safety.path))
    rows.write_text(rows.read_text().replace('"A."', '"B."'))
    assert model_hash(model, on_real.data) != first
    assert model_hash(model) is None, "without the data it cannot be known"
