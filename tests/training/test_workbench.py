import gc
from dataclasses import replace

import pytest
import torch
from benches import bench, run_trials, write_files
from tiny import weights_of

from training.config import DirectionConfig, Source, TrialConfig
from training.errors import DataError, DirectionError
from training.loop.train import TrialStopped
from training.models.loading import load_model
from training.workbench.scaled import Scaling

LORA = {"steps": 4, "batch_size": 4, "learning_rate": 1e-2, "log_every": 2, "tuning": {"type": "lora", "rank": 2}}
FULL = {**LORA, "learning_rate": 1e-3, "tuning": {"type": "full"}, "constraint": {"alpha": 0.0}}

pytestmark = pytest.mark.usefixtures("process")


@pytest.fixture
def directory(tmp_path, chat_tokenizer):
    write_files(tmp_path, chat_tokenizer)
    return tmp_path


def test_trials_one_after_another_leave_no_trace(directory):
    trials = [None, LORA, FULL, {**LORA, "deepspeed": {"zero_stage": 3}}, LORA, None]
    base, lora, full, sharded, again, base_again = run_trials({"directory": str(directory), "trials": trials})
    assert base == base_again
    assert lora == again
    assert lora["utility/loss"] != base["utility/loss"]
    assert full["utility/loss"] != base["utility/loss"]
    assert sharded["utility/loss"] == pytest.approx(lora["utility/loss"], rel=1e-4)
    assert len(list((directory / "out" / "references").glob("*.arrow"))) == 1
    assert (directory / "out" / "directions" / "tiny").is_dir()


def test_a_stopped_trial_is_not_measured_and_leaves_no_trace(directory):
    made = bench(directory)
    made.prepare()
    before = weights_of(made.model)
    with pytest.raises(TrialStopped) as stopped:
        made.run(TrialConfig.model_validate(LORA), lambda report: report.step >= 2)
    assert stopped.value.step == 2
    after = weights_of(made.model)
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("settings", [LORA, FULL], ids=["adapter", "full"])
def test_what_is_saved_loads_with_plain_libraries(directory, settings):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    made = bench(directory)
    measured = made.run(TrialConfig.model_validate(settings), lambda _report: False, save=directory / "saved")
    if settings is LORA:
        loaded = PeftModel.from_pretrained(load_model(directory / "model"), directory / "saved").eval()
    else:
        loaded = AutoModelForCausalLM.from_pretrained(directory / "saved").eval()
    again = made._measure(loaded)
    assert again.report.metrics == pytest.approx(measured.report.metrics, rel=1e-5, nan_ok=True)


def _optimizers():
    return [one for one in gc.get_objects() if issubclass(type(one), torch.optim.Optimizer) and one.state]


class _Watching:
    """A judge that looks for what training has left in memory."""

    name, asks = "watching", "refused"

    def __init__(self):
        self.found = []

    def judge(self, exchanges):
        self.found += _optimizers()
        return [False] * len(exchanges)


@pytest.mark.parametrize("stage", [0, 2])
def test_judges_are_asked_when_the_optimizer_is_gone(directory, stage):
    made, watching = bench(directory), _Watching()
    made._measuring.judges = [watching]
    gc.collect()  # of other tests
    before = [id(one) for one in _optimizers()]
    gc.disable()  # what is freed is so without a search for garbage, which comes whenever it likes
    try:
        made.run(TrialConfig.model_validate({**FULL, "deepspeed": {"zero_stage": stage}}), lambda _report: False)
    finally:
        gc.enable()
    assert [one for one in watching.found if id(one) not in before] == []


def test_precision_of_the_trial_is_honoured(directory):
    made = bench(directory)
    fine = made.run(TrialConfig.model_validate(LORA), lambda _report: False).report.metrics
    coarse = made.run(TrialConfig.model_validate({**LORA, "precision": "bf16"}), lambda _report: False).report.metrics
    assert made.model.dtype == torch.bfloat16
    assert coarse["utility/loss"] == pytest.approx(fine["utility/loss"], rel=0.1)
    assert coarse["utility/loss"] != fine["utility/loss"]
    assert made.run(TrialConfig.model_validate(LORA), lambda _report: False).report.metrics == fine


def test_a_fault_of_preparation_is_told_again_and_never_its_consequences(directory):
    made = bench(directory)
    made.direction_config = DirectionConfig(prompts=8, filter=True, causal=None)  # random weights refuse nothing
    for _ in range(2):
        with pytest.raises(DirectionError, match="the model refuses only 0 of the"):
            made.run(None, lambda _report: False)
    assert isinstance(made.fault, DirectionError)


def test_what_is_no_fault_of_the_model_is_tried_again(directory, monkeypatch):
    made = bench(directory)
    with monkeypatch.context() as patch:
        patch.setattr("training.workbench.bench.load_tokenizer", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            made.run(None, lambda _report: False)
    assert made.fault is None
    assert made.run(None, lambda _report: False).report.metrics


def test_prompts_of_the_direction_that_are_measured_are_counted_and_refused_when_strict(directory):
    def prepared(**evaluation):
        made = bench(directory)
        lines = (
            (directory / "harmful.jsonl")
            .read_text()
            .upper()
            .replace("PROMPT", "prompt")
            .replace("RESPONSE", "response")
        )
        (directory / "known.jsonl").write_text(lines)
        made.data = made.data.model_copy(
            update={"harmful_sets": {"known": Source(path=str(directory / "known.jsonl"))}}
        )
        made.evaluation = made.evaluation.model_copy(update={"harmful": 36, **evaluation})
        made.prepare()
        return made

    made = prepared()
    (sentence,) = [warning for warning in made.warnings if "that the direction" in warning]
    assert sentence.startswith("8 of the 36 evaluation prompts of known are prompts of data.harmful that the direction")
    assert "anchor and sdp" in sentence
    with pytest.raises(DataError, match=r"8 of the 36 .*; take them out, or set evaluation.strict to false"):
        prepared(strict=True)


@pytest.mark.parametrize(
    "settings", [LORA, FULL, {**LORA, "deepspeed": {"zero_stage": 3}}], ids=["lora", "full", "zero 3"]
)
def test_scaled_models_are_measured_between_the_untouched_and_the_trained_one(directory, settings):
    made = bench(directory)
    trial = TrialConfig.model_validate(settings)
    base = made.run(None, lambda _report: False)
    alone = made.run(trial, lambda _report: False)
    asked = []

    def worth(seen):
        asked.append(seen)
        return {0.0, 0.5}

    found = made.run(trial, lambda _report: False, scaling=Scaling((0.0, 0.5, 0.75), worth))
    assert replace(found, scaled=()) == alone, "measuring them changes nothing of the trained model"
    start, half, rest = found.scaled
    assert start.found is not None
    assert replace(start.found, answers=[]) == replace(base, answers=[]), "scale 0 is the untouched model"
    assert [row["answer"] for row in start.found.answers] == [row["answer"] for row in base.answers]
    assert (half.scale, rest.scale, rest.found) == (0.5, 0.75, None)
    assert half.found is not None
    assert half.found.select.metrics["utility/loss"] == pytest.approx(half.rung.metrics["utility/loss"], rel=1e-6)
    (seen,) = asked
    assert list(seen) == [0.0, 0.5, 0.75, 1.0]
    assert seen[1.0] == alone.select
    losses = [seen[scale].metrics["utility/loss"] for scale in seen]
    assert len(set(losses)) == 4
    assert made.run(None, lambda _report: False) == base, "the base model is what it was"


def test_what_is_saved_may_be_a_scaled_model(directory):
    from peft import PeftModel

    made = bench(directory)
    saved = {"save": directory / "saved", "scaling": Scaling((0.5,)), "save_scale": 0.5}
    found = made.run(TrialConfig.model_validate(LORA), lambda _report: False, **saved)
    loaded = PeftModel.from_pretrained(load_model(directory / "model"), directory / "saved").eval()
    again = made._measure(loaded)
    (half,) = found.scaled
    assert again.report.metrics == pytest.approx(half.found.report.metrics, rel=1e-5, nan_ok=True)
