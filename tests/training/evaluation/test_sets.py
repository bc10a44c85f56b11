import json

import pytest
from pydantic import ValidationError

from training.config import AttackConfig, DataConfig, EvaluationConfig, check_names
from training.data.chat import encode_prompts
from training.data.embedded.sets import embedded_set
from training.errors import DataError
from training.evaluation.sets import EvaluationSets

FEW = {"harmful": 8, "harmless": 100, "borderline": 3, "task": 15, "max_new_tokens": 5, "batch_size": 4}


def config(**changes):
    return EvaluationConfig.model_validate(FEW | changes)


@pytest.fixture
def write(tmp_path):
    def write(name, rows):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return {"path": str(path)}

    return write


@pytest.fixture
def with_sets(data):
    """The data with more sets: ``with_sets(harmful_sets={…})``."""

    def with_sets(**sets):
        return DataConfig.model_validate(data.model_dump() | sets)

    return with_sets


def test_the_same_settings_draw_the_same_prompts(data, tokenizer):
    sets = EvaluationSets.load(data, config(), tokenizer)
    assert EvaluationSets.load(data, config(), tokenizer) == sets
    other = EvaluationSets.load(data, config(seed=1), tokenizer)
    harmful, harmless, *_ = (sets.of_role(role)[0] for role in ("harmful", "harmless"))
    assert other.of_role("harmful")[0].prompts != harmful.prompts
    assert len(harmful) == len(set(harmful.ids)) == 8
    assert len(harmless) == 12  # all there are
    assert harmful.splits.count("report") == 4


def test_repeated_prompts_count_once(data, tokenizer, tmp_path):
    path = tmp_path / "harmful.jsonl"
    path.write_text(path.read_text() * 3)
    assert len(EvaluationSets.load(data, EvaluationConfig(), tokenizer).of_role("harmful")[0]) == 12


def test_without_a_split_both_views_are_all_prompts(data, tokenizer):
    sets = EvaluationSets.load(data, config(report_share=0), tokenizer)
    splits = sets.of_role("harmful")[0].splits
    assert set(splits) == {"report"}
    assert sets.view(splits, "select") == sets.view(splits, "report") == list(range(8))


def test_named_sets_are_drawn_whole_and_keep_their_names(with_sets, tokenizer, write):
    extra = write("extra", [{"prompt": f"How do I steal {n} cars?"} for n in range(20)])
    marked = [{"prompt": f"May I kill process {n}?", "split": "test" if n < 5 else "val"} for n in range(20)]
    facts = [{"prompt": f"What is {n} - 1?", "answer": str(n - 1)} for n in range(40, 50)]
    data = with_sets(
        harmful_sets={"advbench": extra, "second-set": extra},
        borderline_sets={"xstest": write("marked", marked)},
        capability_sets={"facts": write("facts", facts)},
    )
    sets = EvaluationSets.load(data, config(harmful=30, borderline=30, capability=30), tokenizer)
    assert [one.name for one in sets.of_role("harmful")] == ["harmful", "advbench", "second-set"]
    advbench, again = sets.of_role("harmful")[1:]
    assert len(advbench) == 20, "a set that is only measured on gives no half to training"
    assert (advbench.ids, advbench.splits) == (again.ids, again.splits)
    assert len(sets.of_role("borderline")[1]) == 5, "its own test rows, where it marks any"
    assert len(sets.of_role("capability")[0]) == 10
    assert sets.task.name == "task"


def test_attacks_change_what_is_asked_and_how_the_answer_begins(data, tokenizer):
    attacks = [
        {"name": "actor", "type": "template", "text": "You are {actor}. {prompt}"},
        {"name": "sure", "type": "prefill", "text": "Sure, a kite"},
    ]
    sets = EvaluationSets.load(data, config(attacks=attacks), tokenizer)
    harmful = sets.of_role("harmful")[0]
    actor, sure = sets.attacked
    assert (actor.attack, sure.attack) == ("actor", "sure")
    assert actor.token_ids == encode_prompts(tokenizer, [f"You are {{actor}}. {one}" for one in harmful.prompts])
    assert actor.prefill == []
    assert sure.token_ids == harmful.token_ids
    assert tokenizer.decode(sure.prefill) == "Sure, a kite"
    assert [one.attack for one in sets.asked] == ["direct"] * 4 + ["actor", "sure"]


@pytest.mark.parametrize(
    ("sets", "sentence"),
    [
        ({"harmful_sets": {"JBB!": {"path": "a.jsonl"}}}, "harmful_sets \\('JBB!'\\) is no usable name"),
        ({"harmful_sets": {"task": {"path": "a.jsonl"}}}, "harmful_sets \\(task\\) is the name of another set"),
        (
            {"harmful_sets": {"one": {"path": "a.jsonl"}}, "borderline_sets": {"one": {"path": "a.jsonl"}}},
            "borderline_sets \\(one\\) is the name of another set",
        ),
    ],
)
def test_names_of_sets_are_refused_where_they_clash(with_sets, sets, sentence):
    with pytest.raises(ValidationError, match=sentence):
        with_sets(**sets)


@pytest.mark.parametrize("names", [["direct"], ["a", "a"], ["A b"]])
def test_names_of_attacks_are_refused_where_they_clash(names):
    with pytest.raises(ValidationError, match="attacks"):
        config(attacks=[{"name": name, "type": "prefill", "text": "Sure"} for name in names])


def test_an_attack_called_like_a_set_is_refused(with_sets, write):
    data = with_sets(harmful_sets={"one": write("one", [{"prompt": "a"}])})
    with pytest.raises(ValueError, match=r"evaluation\.attacks \(one\) is the name of a set in data"):
        check_names(data, config(attacks=[{"name": "one", "type": "prefill", "text": "Sure"}]))


def test_a_template_without_a_place_for_the_prompt_is_refused():
    with pytest.raises(ValidationError, match=r"has no {prompt}: write it where the harmful prompt goes"):
        AttackConfig(name="a", type="template", text="Please answer.")


def test_small_views_are_warned_of_and_empty_ones_refused(with_sets, tokenizer, write):
    many = write("many", [{"prompt": f"Which {n}?"} for n in range(200)])
    data = with_sets(harmless=many)
    warnings = EvaluationSets.load(data, config(harmless=60, harmful=4), tokenizer).warnings
    assert any(
        text.startswith("data.harmful has 2 prompts to select and 2 prompts to report, and below 30")
        for text in warnings
    )
    assert not any("data.harmless" in text for text in warnings)
    with pytest.raises(DataError, match=r"data\.harmful: the report view has no prompt.*evaluation\.report_share 0"):
        EvaluationSets.load(data, config(harmful=1), tokenizer)
    whole = EvaluationSets.load(data, config(harmful=1, report_share=0), tokenizer)
    assert any(text.startswith("data.harmful has 1 prompt to report, and below 30") for text in whole.warnings)


def test_training_prompts_are_counted_and_refused_when_strict(with_sets, tokenizer, write):
    copied = [{"prompt": f"what is {n} + 1 ?"} for n in range(0, 12, 2)]  # rows of the train split, written otherwise
    data = with_sets(harmful_sets={"copied": write("copied", [*copied, {"prompt": "something new"}])})
    sentence = "6 of the 7 evaluation prompts of copied are training prompts of data.task"
    assert any(text.startswith(sentence) for text in EvaluationSets.load(data, config(), tokenizer).warnings)
    with pytest.raises(DataError, match=sentence):
        EvaluationSets.load(data, config(strict=True), tokenizer)


def test_clean_data_passes_when_strict(with_sets, tokenizer, write):
    data = with_sets(safety=write("refused", [{"prompt": f"Steal {n} cars", "response": "No."} for n in range(8)]))
    assert not any("training" in text for text in EvaluationSets.load(data, config(strict=True), tokenizer).warnings)


def test_an_empty_answer_column_is_refused(with_sets, tokenizer, write):
    rows = [{"prompt": f"What is {n}?", "response": "It is.", "answer": ""} for n in range(20)]
    with pytest.raises(DataError, match=r"data\.task: column answer is empty in every row"):
        EvaluationSets.load(with_sets(task=write("empty", rows)), config(), tokenizer)
    for row in rows:
        del row["answer"]
    sets = EvaluationSets.load(with_sets(task=write("absent", rows)), config(), tokenizer)
    assert set(sets.task.golds) == {"It is."}
    data = with_sets(capability_sets={"bare": write("bare", [{"prompt": row["prompt"]} for row in rows])})
    with pytest.raises(DataError, match="neither answer nor response"):
        EvaluationSets.load(data, config(), tokenizer)


def test_rows_without_a_readable_answer_are_counted(with_sets, tokenizer, write):
    rows = [{"prompt": f"Which {n}?", "response": "B", "answer": "B" if n % 2 else "fog"} for n in range(40)]
    data = with_sets(task=write("letters", rows))
    sets = EvaluationSets.load(data, config(task=40, extractor="choice"), tokenizer)
    assert set(sets.task.golds) == {"B", None}
    assert any("rows have no correct answer that can be read" in text for text in sets.warnings)
    with pytest.raises(DataError, match="extractor numeric finds nothing in the correct answers"):
        EvaluationSets.load(data, config(extractor="numeric"), tokenizer)


def test_extractors_go_by_family_and_set(with_sets, tokenizer, write):
    letters = write("letters", [{"prompt": f"Which {n}?", "answer": "B"} for n in range(20)])
    data = with_sets(capability_sets={"mmlu": letters})
    chosen = config(extractor="exact", extractors={"small": "numeric", "mmlu": "choice"})
    sets = EvaluationSets.load(data, chosen, tokenizer)
    by_family = dict(zip(sets.task.families, sets.task.extractors, strict=True))
    assert {family: kind.type for family, kind in by_family.items()} == {"small": "numeric", "large": "exact"}
    assert {kind.type for kind in sets.of_role("capability")[0].extractors} == {"choice"}
    with pytest.raises(DataError, match=r"evaluation\.extractors\.smal: there is no such family or capability set"):
        EvaluationSets.load(data, config(extractors={"smal": "numeric"}), tokenizer)


def test_a_capability_set_called_like_a_family_is_refused(with_sets, tokenizer, write):
    data = with_sets(capability_sets={"small": write("s", [{"prompt": f"Q{n}", "answer": "B"} for n in range(20)])})
    with pytest.raises(DataError, match="both would write utility/accuracy/small"):
        EvaluationSets.load(data, config(), tokenizer)


def test_long_prompts_lose_their_start(data, tokenizer):
    sets = EvaluationSets.load(data, config(max_length=12), tokenizer)
    whole = EvaluationSets.load(data, config(), tokenizer)
    assert max(len(ids) for ids in sets.of_role("harmful")[0].token_ids) == 12
    for short, long in zip(sets.of_role("harmful")[0].token_ids, whole.of_role("harmful")[0].token_ids, strict=True):
        assert short == long[-12:]
    assert len(sets.task.samples) == len(sets.task.rows) < len(whole.task.samples) == 15


def test_text_is_kept_of_embedded_models_unless_told():
    assert config().keeps_text(embedded=True)
    assert not config().keeps_text(embedded=False)
    assert config(keep_answers=True).keeps_text(embedded=False)
    assert not config(keep_answers=False).keeps_text(embedded=True)


def test_an_embedded_set_is_measured_on_its_test_rows(with_sets, tokenizer):
    data = with_sets(capability_sets={"skills": {"path": "organism/small/general"}})
    sets = EvaluationSets.load(data, config(), tokenizer)
    known = {row["prompt"] for row in embedded_set("organism/small/general", "test")}
    skills = sets.of_role("capability")[0]
    assert len(skills) == 200
    assert set(skills.prompts) < known
