import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeps.errors import SpecError
from sweeps.schema.load import load_spec, preset_names

SPEC = """
name: small
models: [{name: m, path: organism/small}]
data:
  task: {path: organism/small/general}
  safety: {path: organism/small/safety}
  harmful: {path: prompts.parquet}
  harmless: {train: {path: [a.jsonl, sub/b.jsonl]}, test: {path: /abs/c.jsonl}}
  borderline: {path: some-org/some-set}
trial: {steps: 100, constraint: {alpha: 1e-2}}
search: {constraint: {alpha: {type: loguniform, low: 1e-3, high: 1}}}
objectives: [{metric: safety/attack_success_rate, goal: minimize}, {metric: utility/accuracy, goal: maximize}]
trials: 3
"""


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    file = tmp_path / "spec.yaml"
    file.write_text(SPEC)
    return file


def test_relative_data_paths_start_from_the_spec(spec_file: Path) -> None:
    data = load_spec(spec_file).data
    folder = spec_file.parent
    assert data.harmful.path == str(folder / "prompts.parquet")
    assert data.harmless.train is not None
    assert data.harmless.train.path == [str(folder / "a.jsonl"), str(folder / "sub/b.jsonl")]
    assert data.harmless.test is not None
    assert data.harmless.test.path == "/abs/c.jsonl"


def test_embedded_sets_and_hub_ids_stay_as_they_are(spec_file: Path) -> None:
    data = load_spec(spec_file).data
    assert (data.task.path, data.borderline.path) == ("organism/small/general", "some-org/some-set")


def test_data_root_in_the_spec_starts_from_the_spec(spec_file: Path) -> None:
    spec_file.write_text(SPEC + "data_root: ../elsewhere\n")
    assert load_spec(spec_file).data.harmful.path == str(spec_file.parent.parent / "elsewhere/prompts.parquet")


def test_data_root_on_the_command_line_starts_from_where_it_was_typed(
    spec_file: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path_factory.mktemp("here")
    monkeypatch.chdir(here)
    assert load_spec(spec_file, ["data_root=data"]).data.harmful.path == str(here / "data/prompts.parquet")


def test_numbers_in_scientific_notation_are_numbers(spec_file: Path) -> None:
    assert load_spec(spec_file).trial.constraint.alpha == 0.01
    assert load_spec(spec_file, ["trial.learning_rate=3e-3"]).trial.learning_rate == 0.003


def test_overrides_reach_list_items(spec_file: Path) -> None:
    spec = load_spec(spec_file, ["objectives.0.metric=safety/compliance_rate", "models.0.name=other"])
    assert spec.objectives[0].metric == "safety/compliance_rate"
    assert spec.models[0].name == "other"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("trial.stepz=3", ["trial.stepz", "3", "did you mean steps"]),
        ("bogus=3", ["bogus", "3", "unknown field"]),
        ("trial.constraint.alpha=-1", ["trial.constraint.alpha", "-1", "greater than or equal to 0"]),
        ("trial.steps=0", ["trial.steps", "0", "greater than 0"]),
        ("trials=0", ["trials", "0", "greater than 0"]),
        ("trial.constraint.warmup_steps=101", ["trial.constraint.warmup_steps", "101", "steps (100)", "shorten"]),
        ("trial.constraint.warmup_steps=often", ["trial.constraint.warmup_steps", "often", "whole number", "all"]),
        ("trial.constraint.layers=5-2", ["trial.constraint.layers", "5-2", "2-5"]),
        ("trial.constraint.layers=[1, 1]", ["trial.constraint.layers", "[1, 1]", "once"]),
        ("trial.tuning.type=adalora", ["trial.tuning.type", "adalora", "qlora", "full"]),
        ("objectives.0.metric=utility/acuracy", ["objectives.0.metric", "utility/acuracy", "utility/accuracy"]),
        ("objectives.0.metric=utility/loss", ["objectives.0.worst", "utility/loss"]),
        ("objectives.7.metric=x", ["objectives.7.metric", "0 to 1"]),
        ("objectives.1.metric=safety/attack_success_rate", ["objectives", "repeats"]),
        ("feasible=['safety/over_refusal ~ 3']", ["feasible", "~", "<="]),
        ("search.constraint.alpa={type: uniform, low: 1, high: 2}", ["search.constraint.alpa", "not a field"]),
        ("search.safety_share={type: uniform, low: 0, high: 1}", ["search.safety_share", "1", "less than 1"]),
        ("search.steps={type: int, low: 0, high: 9}", ["search.steps", "0", "greater than 0"]),
        ("models=[]", ["models", "it must be a list of at least 1 item"]),
        ("trial=[]", ["trial", "it must be a block of fields"]),
        ("direction.filter=3", ["direction.filter", "it must be true or false"]),
        ("trial.learning-rate=3", ["trial.learning-rate", "3", "did you mean learning_rate"]),
        ("[/x]=3", ["[/x] (3) is an unknown field"]),
        ("name=a b", ["name", "a b", "letters"]),
        ("data.task={}", ["data.task", "path", "train and test"]),
        ("data.task.train.path=x.parquet", ["data.task", "one of the two forms"]),
        ("data.task.columns.promt=x", ["data.task.columns", "promt"]),
        ("nonsense", ["--set", "nonsense", "field.name=value"]),
    ],
)
def test_what_can_be_wrong_is_refused_in_a_sentence(spec_file: Path, override: str, words: list[str]) -> None:
    with pytest.raises(SpecError) as refusal:
        load_spec(spec_file, [override])
    text = str(refusal.value)
    assert all(word in text for word in words), text
    assert "\n" not in text


def test_no_refusal_speaks_the_schemas_language() -> None:
    """Whatever is put where, the sentence is English; pydantic's own words are not."""
    foreign = re.compile(r"Input should|List should|valid|instance of|[Uu]nable to|discriminator|not match")
    spec = load_spec("demo").model_dump(mode="json")
    for path in [name for name in paths(spec) if "search" not in name or "type" in name]:
        for value in ("[]", "{a-b: 1}"):
            assert not foreign.search(refusal_of(f"{path}={value}"))


def refusal_of(override: str) -> str:
    """Why the demo with ``override`` is refused; empty where it is not."""
    try:
        load_spec("demo", [override])
    except SpecError as error:
        return str(error)
    return ""


def paths(tree: Any, prefix: str = "") -> Iterator[str]:
    """Dotted paths of everything in nested mappings; of lists, the first item's."""
    children = tree.items() if isinstance(tree, dict) else enumerate(tree[:1]) if isinstance(tree, list) else ()
    for key, value in children:
        yield f"{prefix}{key}"
        yield from paths(value, f"{prefix}{key}.")


def test_a_seed_without_effect_is_refused(spec_file: Path) -> None:
    with pytest.raises(SpecError, match=r"models.0.seed \(3\) has no effect on some/model"):
        load_spec(spec_file, ["models.0.path=some/model", "models.0.seed=3"])


def test_a_missing_spec_names_the_presets() -> None:
    with pytest.raises(SpecError, match=r"nowhere.yaml.*does not exist.*demo"):
        load_spec("nowhere.yaml")


def test_broken_yaml_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("name: [unclosed")
    with pytest.raises(SpecError, match="not valid YAML"):
        load_spec(file)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid(name: str) -> None:
    assert load_spec(name).name


def test_layers_outside_the_model_are_refused(spec_file: Path) -> None:
    spec = load_spec(spec_file, ["trial.constraint.layers=7"])
    with pytest.raises(ValueError, match=r"layers \(7\) names layer 7, but the model has 4"):
        spec.check_layers(4)


def test_references_differ_from_the_trial_only_where_they_must(spec_file: Path) -> None:
    spec = load_spec(spec_file, ["trial.safety_share=0.02", "trial.seed=5"])
    assert spec.reference_config("base") is None
    plain, safety = spec.reference_config("ift"), spec.reference_config("ift_safety")
    assert plain is not None
    assert safety is not None
    assert (plain.constraint.alpha, plain.safety_share, plain.seed) == (0.0, 0.0, 5)
    assert (safety.constraint.alpha, safety.safety_share, safety.seed) == (0.0, 0.02, 5)


@pytest.mark.parametrize(
    ("overrides", "share"),
    [([], 0.05), (["trial.safety_share=0.1"], 0.1), (["search.safety_share={type: choice, values: [0.0, 0.2]}"], 0.2)],
)
def test_the_safety_reference_takes_the_largest_searched_share(
    spec_file: Path, overrides: list[str], share: float
) -> None:
    assert load_spec(spec_file, overrides).largest_safety_share() == share


def test_the_schema_imports_nothing_heavy() -> None:
    heavy = "[m for m in ('torch', 'ray', 'mlflow', 'transformers') if m in sys.modules]"
    code = f"import sweeps.schema.load, sys; print({heavy})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
