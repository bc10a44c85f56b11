"""The strength of the random control, and every type of constraint through the workbench."""

import json

import pytest
import torch
from benches import bench, weights_of, write_files
from oracle import moved
from tiny import random_direction, random_samples, references_of, tiny_llama
from trajectories import trial

from training.adapters import attach
from training.config import LoraTuning, ProConConstraint, TrialConfig
from training.constraints import build_constraint
from training.loop import TrainingSet
from training.matching import Compared, gradient_norms

pytestmark = pytest.mark.usefixtures("process")
SHORT = {"steps": 4, "batch_size": 4, "learning_rate": 1e-2, "log_every": 2, "tuning": {"type": "lora", "rank": 2}}


@pytest.fixture
def made(tmp_path, chat_tokenizer):
    write_files(tmp_path, chat_tokenizer)
    return bench(tmp_path)


def test_gradient_norms_are_those_of_the_global_batches():
    model, samples, direction = tiny_llama(), random_samples(60), random_direction()
    references = references_of(model, samples, direction)
    constraint = build_constraint(ProConConstraint(alpha=1), direction, torch.device("cpu"))
    adapted = moved(attach(model, LoraTuning(rank=2), 0))
    compared, data = Compared(constraint, references), TrainingSet(samples, 40, None)
    whole, shared = (gradient_norms(adapted, trial(micro_batch_size=size), data, compared, 4) for size in (None, 2))
    assert whole == pytest.approx(shared, rel=1e-4)
    assert whole[2:8] == pytest.approx(gradient_norms(adapted, trial(), data, compared, 0)[0:6], rel=1e-6)
    assert all(weight.grad is None for weight in adapted.parameters())


def test_a_matched_control_trains_as_with_that_strength_from_the_start(made):
    control = {"type": "random_direction", "alpha": 0.5}
    matched = TrialConfig.model_validate({**SHORT, "constraint": control})
    made.prepare()
    before = weights_of(made.model)
    reports = []
    first = made.run(matched, lambda report: bool(reports.append(report)))
    assert all(torch.equal(weight, before[name]) for name, weight in weights_of(made.model).items())
    kept = list((made.directory / "matching").glob("*.json"))
    ratio = json.loads(kept[0].read_text())["ratio"]
    assert ratio > 0
    assert reports[-1].metrics["train/alpha"] == pytest.approx(0.5 * ratio)
    fixed = {**SHORT, "constraint": {**control, "alpha": 0.5 * ratio, "strength": "alpha"}}
    expected = []
    second = made.run(TrialConfig.model_validate(fixed), lambda report: bool(expected.append(report)))
    assert [one.metrics["train/penalty"] for one in reports] == [one.metrics["train/penalty"] for one in expected]
    assert first.metrics == pytest.approx(second.metrics, nan_ok=True, rel=0, abs=0)
    # Another strength is measured no second time.
    made.run(matched.model_copy(update={"constraint": matched.constraint.model_copy(update={"alpha": 0.1})}), _go_on)
    assert len(list((made.directory / "matching").glob("*.json"))) == 1


def _go_on(_report):
    return False


PENALTIES = ["sdp", "subspace", "feature_l2", "anchor", "kl_reference", "constrained_sft", "l2_init"]


@pytest.mark.parametrize("tuning", [{"type": "lora", "rank": 2}, {"type": "full"}], ids=["lora", "full"])
def test_every_type_runs_holds_something_and_leaves_no_trace(made, tuning):
    made.prepare()
    before = weights_of(made.model)
    for kind in PENALTIES:
        block = {"type": kind, "alpha": 1e-3, **({"rank": 2} if kind == "subspace" else {})}
        block |= {"prompts": 3} if kind == "anchor" else {}
        for stage in (0,) if kind == "l2_init" else (0, 3):
            changes = {"tuning": tuning, "constraint": block, "deepspeed": {"zero_stage": stage}}
            reports = []
            made.run(TrialConfig.model_validate({**SHORT, **changes}), lambda r, to=reports: bool(to.append(r)))
            assert reports[-1].metrics["train/penalty"] > 0, (kind, stage)
    assert all(torch.equal(weight, before[name]) for name, weight in weights_of(made.model).items())
