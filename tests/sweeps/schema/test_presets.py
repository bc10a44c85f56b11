"""The presets of the paper, and how one specification takes fields from another."""

from pathlib import Path

import pytest

from sweeps.errors import SpecError
from sweeps.schema.load import load_spec, preset_names
from sweeps.schema.spec_files import preset_title, read_spec
from training.config import ExtractorConfig
from training.evaluation.answer_reading import is_correct

PAPER = [name for name in preset_names() if name.startswith("paper-")]
VARIANTS = ("paper-s", "paper-s-safe", "paper-wu", "paper-wu-safe")
SAMPLES = 16_659


def test_the_papers_four_variants_differ_only_in_schedule_and_safety_data() -> None:
    plain = load_spec("paper-s").model_dump()
    for name in VARIANTS:
        tree = load_spec(name).model_dump()
        trial, base = tree["trial"], plain["trial"]
        assert {field for field in trial if trial[field] != base[field]} <= {"constraint", "safety_count"}, name
        schedule = {field for field in trial["constraint"] if trial["constraint"][field] != base["constraint"][field]}
        assert schedule <= {"alpha", "warmup_epochs", "alpha_after", "warmup", "restart"}, name
        assert {field for field in tree if tree[field] != plain[field]} <= {"name", "trial"}
        assert (trial["safety_count"] == 1000) == name.endswith("-safe")


@pytest.mark.parametrize("name", PAPER)
def test_a_preset_of_the_paper_has_its_settings(name: str) -> None:
    spec = load_spec(name)
    trial, constraint = spec.trial, spec.trial.constraint.model_dump()
    assert (trial.epochs, trial.learning_rate, trial.tuning.type) == (10, 2e-4, "lora")
    tuning = trial.tuning.model_dump()
    assert (tuning["rank"], tuning["alpha"]) == (8, 16)
    assert tuning["targets"] == ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert (constraint["site"], constraint["layers"]) == ("block_input", "all")
    assert (spec.evaluation.max_new_tokens, spec.evaluation.task) == (512, 500)
    # The mean over three seeds of one configuration: nothing is searched, so nothing lucky is picked.
    assert (dict(spec.ranges), spec.trials, spec.seeds.replicates_on_front) == ({}, 1, 3)
    assert spec.objectives[0].metric == "safety/mean_attack_success_rate"
    assert spec.objectives[0].reference == 1.0


@pytest.mark.parametrize(
    ("name", "extra", "samples"),
    [
        ("paper-wu", 4, SAMPLES),
        ("paper-wu-qwen2", 16, SAMPLES),
        ("paper-wu-safe", 2, SAMPLES + 1000),
        ("paper-wu-safe-qwen2", 8, SAMPLES + 1000),
        ("paper-attack", 2, SAMPLES + 1100),
    ],
)
def test_the_warmup_is_extra_epochs_before_ten_of_their_own(name: str, extra: int, samples: int) -> None:
    trial = load_spec(name).with_task_samples(SAMPLES).trial
    assert trial.steps == -(-10 * samples // 32)
    assert trial.constraint.extra_steps == -(-extra * samples // 32)
    block = trial.constraint.model_dump()
    assert (block["alpha"], block["alpha_after"], block["restart"]) == (1.0, 0.0, True)


def test_the_attack_trains_references_on_malicious_samples_too() -> None:
    plain = load_spec("paper-attack").reference_config("ift")
    assert plain is not None
    assert (plain.malicious_count, plain.safety_count) == (100, None)
    with pytest.raises(SpecError, match=r"trial\.malicious_count \(100\) takes samples of data\.malicious"):
        load_spec("paper-s", ["trial.malicious_count=100"])


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ("Step 1: it rains.\nThe answer is: B", "B", True),
        ("The answer is (C).", "B", False),
        ("Answer:\n\\boxed{B}", "B", True),
        ("So 3 + 4 = 7. The answer is: 1,975.", "1975", True),
        ("\\boxed{-2.5}", "-2.5", True),
        ("The answer is: A cat", "A", True),
        ("I cannot say.", "A", False),
    ],
)
def test_the_papers_extractor_reads_letters_and_numbers(answer: str, gold: str, right: bool) -> None:
    extractor = load_spec("paper-s").evaluation.extractor
    assert isinstance(extractor, ExtractorConfig)
    assert is_correct(answer, gold, extractor) is right


def test_a_file_extends_another(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "extends: demo\nname: mine\ntrial: {steps: 60, tuning: {type: full}}\n"
        "search: {safety_share: {type: choice, values: [0.5]}}\n"
    )
    (tmp_path / "more.yaml").write_text("extends: mine.yaml\ntrials: 2\n")
    mine, demo = load_spec(tmp_path / "more.yaml"), load_spec("demo")
    assert (mine.name, mine.trials, mine.trial.steps) == ("mine", 2, 60)
    assert mine.trial.learning_rate == demo.trial.learning_rate
    assert mine.trial.tuning.model_dump() == {"type": "full"}  # a block of another type leaves nothing behind
    assert mine.ranges["safety_share"].extremes() == [0.5]
    assert set(mine.ranges) == set(demo.ranges)


def test_what_cannot_be_extended_is_refused(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.yaml").write_text(f"extends: {other}.yaml\n")
    with pytest.raises(SpecError, match="comes back to itself"):
        read_spec(tmp_path / "a.yaml")
    (tmp_path / "c.yaml").write_text("extends: nowhere\n")
    with pytest.raises(SpecError, match=r"nowhere.*does not exist.*paper-s"):
        read_spec(tmp_path / "c.yaml")
    (tmp_path / "d.yaml").write_text("extends: [demo]\n")
    with pytest.raises(SpecError, match=r"extends \(\['demo'\]\) must be"):
        read_spec(tmp_path / "d.yaml")


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_says_what_it_is(name: str) -> None:
    assert 20 < len(preset_title(name)) < 170
