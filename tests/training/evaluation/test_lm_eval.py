import importlib.util
import json
import random

import numpy as np
import pytest
import torch
from benches import bench, write_files

from training.config import TrialConfig
from training.config.lm_eval import LmEvalConfig
from training.errors import DataError
from training.evaluation.lm_eval import check_lm_eval, lm_eval_metrics
from training.models.generation import generate_answers

installed = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="needs pip install 'procon-sweeps[eval]'"
)
DISHES = ["soup", "cake", "rice", "bread", "salad", "stew", "pie", "curry"]


@pytest.fixture
def tasks(tmp_path):
    """Writes local tasks and their rows, and returns their folder."""

    def write(name, rows, **settings):
        data = tmp_path / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        task = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(data)}},
            "test_split": "test",
            "doc_to_text": "{{question}}",
            "target_delimiter": "",
            "metadata": {"version": 1},
            **settings,
        }
        (tmp_path / f"{name}.yaml").write_text(json.dumps(task))  # JSON is YAML
        return str(tmp_path)

    return write


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr("datasets.config.HF_DATASETS_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


CHOICES = ("yes, that", "no")
GENERATED = {
    "output_type": "generate_until",
    "doc_to_target": "{{gold}}",
    "generation_kwargs": {"until": ["@@@@"], "max_gen_toks": 3, "do_sample": False},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}


def multiple_choice(tasks, metrics=("acc",)):
    rows = [{"question": f"How do I make a {dish}?", "gold": index % 2} for index, dish in enumerate(DISHES)]
    settings = {
        "output_type": "multiple_choice",
        "doc_to_choice": list(CHOICES),
        "doc_to_target": "gold",
        "metric_list": [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in metrics],
    }
    return rows, tasks("dishes", rows, **settings)


def log_likelihood(model, tokenizer, context, continuation):
    start = tokenizer(context)["input_ids"]
    ids = torch.tensor([tokenizer(context + continuation)["input_ids"]])
    with torch.no_grad():
        logs = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
    return sum(float(logs[at - 1, ids[0, at]]) for at in range(len(start), ids.shape[1]))


def accuracy(model, tokenizer, rows, *, normalised=False):
    def chosen(row):
        scores = [log_likelihood(model, tokenizer, row["question"], choice) for choice in CHOICES]
        if normalised:
            scores = [score / len(choice) for score, choice in zip(scores, CHOICES, strict=True)]
        return scores.index(max(scores))

    return sum(chosen(row) == row["gold"] for row in rows) / len(rows)


@installed
def test_a_local_task_is_scored_as_by_hand_with_adapters_unmerged(adapted_model, model, tokenizer, tasks):
    rows, folder = multiple_choice(tasks, ("acc", "acc_norm"))
    config = LmEvalConfig(tasks=["dishes"], include_path=folder)
    plain = {accuracy(each, tokenizer, rows) for each in (adapted_model, model)}
    shares = [accuracy(each, tokenizer, rows, normalised=True) for each in (adapted_model, model)]
    assert shares[0] != shares[1]  # the adapter shows
    assert not plain & set(shares)  # and so does which score is taken
    for each, share in zip((adapted_model, model), shares, strict=True):
        found = lm_eval_metrics(each, tokenizer, config)
        assert found == {
            "utility/lm_eval/dishes": pytest.approx(share),
            "utility/lm_eval_stderr/dishes": pytest.approx((share * (1 - share) / (len(rows) - 1)) ** 0.5),
        }
    first = lm_eval_metrics(model, tokenizer, config.model_copy(update={"limit": 3, "batch_size": "auto"}))
    assert first["utility/lm_eval/dishes"] == pytest.approx(accuracy(model, tokenizer, rows[:3], normalised=True))


@installed
def test_the_model_and_the_random_generators_are_left_as_they_were(adapted_model, tokenizer, tasks):
    _, folder = multiple_choice(tasks)
    adapted_model.train()
    modes = [module.training for module in adapted_model.modules()]
    weights = {name: value.clone() for name, value in adapted_model.state_dict().items()}
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    lm_eval_metrics(adapted_model, tokenizer, LmEvalConfig(tasks=["dishes"], include_path=folder))
    assert [module.training for module in adapted_model.modules()] == modes
    assert all(torch.equal(value, weights[name]) for name, value in adapted_model.state_dict().items())
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[:2]
    assert torch.equal(torch.get_rng_state(), states[2])
    ids = torch.tensor([tokenizer("How do I make a cake?")["input_ids"]])
    adapted_model(input_ids=ids, labels=ids).loss.backward()


@installed
@pytest.mark.parametrize("chat_template", [False, True])
def test_generated_answers_are_matched(model, tokenizer, tasks, chat_template):
    questions = [f"How do I make a {dish}?" for dish in DISHES]

    def asked(question):
        if not chat_template:
            return tokenizer(question)["input_ids"]
        turns = [{"role": "user", "content": question}]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return tokenizer(text)["input_ids"]

    said = generate_answers(model, tokenizer, [asked(each) for each in questions], max_new_tokens=3, batch_size=8)
    rows = [
        {"question": question, "gold": answer if index < 5 else "never"}
        for index, (question, answer) in enumerate(zip(questions, said, strict=True))
    ]
    folder = tasks("saying", rows, **GENERATED)
    config = LmEvalConfig(tasks=["saying"], include_path=folder, chat_template=chat_template)
    assert lm_eval_metrics(model, tokenizer, config)["utility/lm_eval/saying"] == pytest.approx(5 / 8)


@installed
def test_solved_examples_stand_before_the_question(model, tokenizer, tasks):
    questions = [f"How do I make a {dish}?" for dish in DISHES]
    asked = [tokenizer(f"{questions[0]}fine\n\n{question}")["input_ids"] for question in questions[1:]]
    said = generate_answers(model, tokenizer, asked, max_new_tokens=3, batch_size=8)
    rows = [{"question": question, "gold": gold} for question, gold in zip(questions, ["fine", *said], strict=True)]
    settings = {"fewshot_split": "test", "fewshot_config": {"sampler": "first_n"}}
    folder = tasks("shots", rows, **GENERATED, **settings)
    found = {
        few_shot: lm_eval_metrics(
            model, tokenizer, LmEvalConfig(tasks=["shots"], include_path=folder, few_shot=few_shot)
        )
        for few_shot in (0, 1)
    }
    assert found[1]["utility/lm_eval/shots"] == pytest.approx(7 / 8)  # the first is not answered with "fine"
    assert found[0]["utility/lm_eval/shots"] < 7 / 8


@installed
@pytest.mark.usefixtures("process")
def test_a_trial_is_measured_once_trained_and_alike_for_search_and_report(tmp_path, chat_tokenizer, tasks):
    write_files(tmp_path, chat_tokenizer)
    _, folder = multiple_choice(tasks)
    made = bench(tmp_path)
    lm_eval = LmEvalConfig(tasks=["dishes"], include_path=folder)
    made.evaluation = made.evaluation.model_copy(update={"lm_eval": lm_eval})
    rungs = []
    trial = TrialConfig.model_validate({"steps": 2, "batch_size": 4, "tuning": {"type": "lora", "rank": 2}})
    found = made.run(trial, lambda report: rungs.append(report) if report.rung else None, rungs=[1])
    assert 0 <= found.report.metrics["utility/lm_eval/dishes"] <= 1
    for name in ("utility/lm_eval/dishes", "utility/lm_eval_stderr/dishes"):
        assert found.select.metrics[name] == found.report.metrics[name]
        assert name not in found.report.counts
        assert all(name not in rung.scores.metrics for rung in rungs)
    assert rungs
    assert "utility/loss" in found.report.metrics  # beside our own


@installed
def test_what_cannot_be_run_is_refused(model, tokenizer, tasks, tmp_path):
    _, folder = multiple_choice(tasks)
    with pytest.raises(DataError, match=r"tasks \(dishs\) is no task that lm-eval knows: did you mean dishes\?"):
        check_lm_eval(LmEvalConfig(tasks=["dishs"], include_path=folder))
    with pytest.raises(DataError, match=r"tasks \(ai2_arc\) is a tag"):
        check_lm_eval(LmEvalConfig(tasks=["ai2_arc"]))
    with pytest.raises(DataError, match=r"include_path \(.*gone\) is no folder"):
        check_lm_eval(LmEvalConfig(tasks=["dishes"], include_path=str(tmp_path / "gone")))
    settings = {"output_type": "loglikelihood", "doc_to_target": "{{gold}}"}
    metric = {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False}
    tasks("odd", [{"question": "a b", "gold": "c"}], **settings, metric_list=[metric])
    with pytest.raises(DataError, match=r"tasks \(odd\) is scored by perplexity, and by none of exact_match, acc_norm"):
        lm_eval_metrics(model, tokenizer, LmEvalConfig(tasks=["odd"], include_path=folder + "/"))
    (tmp_path / "odd.jsonl").unlink()
    with pytest.raises(DataError, match=r"tasks \(odd\) cannot be run: .*odd\.jsonl"):
        lm_eval_metrics(model, tokenizer, LmEvalConfig(tasks=["odd"], include_path=folder))


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is not None, reason="lm-eval is installed")
def test_without_the_extra_a_sentence_says_how_to_get_it():
    with pytest.raises(DataError, match=r"evaluation\.lm_eval\.tasks \(mmlu\) .* pip install 'procon-sweeps\[eval\]'"):
        check_lm_eval(LmEvalConfig(tasks=["mmlu"]))


@pytest.mark.parametrize(
    ("tasks", "sentence"), [(["a", "b", "a"], "tasks repeats a"), (["a/b.yaml"], "'a/b.yaml'"), ([], "at least 1")]
)
def test_names_that_are_none_are_refused(tasks, sentence):
    with pytest.raises(ValueError, match=sentence):
        LmEvalConfig(tasks=tasks)
