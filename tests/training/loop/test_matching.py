"""The strength of the random control, and every type of constraint through the workbench."""

import json

import pytest
import torch
from benches import bench, weights_of, write_files
from oracle import moved
from tiny import random_direction, random_samples, references_of, tiny_llama
from trajectories import trial

from training.config import ProConConstraint, TrialConfig
from training.constraints import build_constraint
from training.loop.loss import ConstrainedLoss
from training.loop.matching import BATCHES, Compared, gradient_norms
from training.loop.train import TrainingSet, plan_of, train
from training.models.adapters import attach

pytestmark = pytest.mark.usefixtures("process")
SHORT = {"steps": 4, "batch_size": 4, "learning_rate": 1e-2, "log_every": 2, "tuning": {"type": "lora", "rank": 2}}


@pytest.fixture
def made(tmp_path, chat_tokenizer):
    write_files(tmp_path, chat_tokenizer)
    return bench(tmp_path)


def measured_norms(first=4, seen=lambda model: None, tuning=None, **changes):
    """Norms of a training of which no step is done, and those that autograd finds by itself."""
    tuning = tuning or {"type": "lora", "rank": 2}
    config = trial(tuning=tuning, constraint={"alpha": 0}, **changes)
    model, samples, direction = tiny_llama(), random_samples(60), random_direction()
    references = references_of(model, samples, direction)
    constraint = build_constraint(ProConConstraint(alpha=1, layers="0-1"), direction, torch.device("cpu"))
    adapted = moved(attach(model, config.tuning, 0) if tuning["type"] == "lora" else model)
    data, expected = TrainingSet(samples, 40, None), []
    for step in (index % config.steps for index in range(first, first + BATCHES)):
        chosen = plan_of(config, data).steps[step]
        _, penalty = ConstrainedLoss(adapted, constraint)(samples.collate(chosen), references.of(chosen, [0, 1]), True)
        weights = [weight for weight in adapted.parameters() if weight.requires_grad]
        found = torch.autograd.grad(penalty / constraint.counted(samples)[chosen].sum(), weights, allow_unused=True)
        expected.append(torch.stack([part.square().sum() for part in found if part is not None]).sum().sqrt().item())
    before, norms = weights_of(adapted), []

    def measure(engine):
        seen(engine.module.model)
        norms.extend(gradient_norms(engine, config, data, Compared(constraint, references), first))
        if config.zero_stage < 3:
            assert all(torch.equal(weight, before[name]) for name, weight in weights_of(engine.module.model).items())

    train(adapted, config, data, None, finish=measure, until=0)
    return norms, expected


@pytest.mark.parametrize("tuning", [{"type": "lora", "rank": 2}, {"type": "full"}], ids=["lora", "full"])
@pytest.mark.parametrize(("stage", "micro"), [(0, None), (0, 2), (1, 4), (2, 2), (3, 2)])
def test_gradient_norms_are_those_of_the_global_batches(stage, micro, tuning):
    norms, expected = measured_norms(tuning=tuning, deepspeed={"zero_stage": stage}, micro_batch_size=micro)
    assert norms == pytest.approx(expected, rel=1e-4)


def test_activations_are_computed_again_where_training_does_so():
    """Evaluation mode would switch it off, and a control would need more memory than what it is the control of."""
    calls = []

    def count(model):
        model.base_model.model.model.layers[1].mlp.register_forward_pre_hook(lambda *_: calls.append(1))

    kept = measured_norms(seen=count, micro_batch_size=4)[0]
    assert len(calls) == 2 * BATCHES  # two forward passes each
    calls.clear()
    again = measured_norms(seen=count, micro_batch_size=4, gradient_checkpointing=True)[0]
    assert len(calls) == 2 * 2 * BATCHES
    assert again == pytest.approx(kept, rel=1e-6)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_dropout_does_not_disturb_what_is_compared(checkpointing):
    settings = {"gradient_checkpointing": checkpointing}
    dropping = measured_norms(tuning={"type": "lora", "rank": 2, "dropout": 0.5}, **settings)[0]
    assert dropping == pytest.approx(measured_norms(**settings)[1], rel=1e-4)


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
    assert reports[-1].scores.metrics["train/alpha"] == pytest.approx(0.5 * ratio)
    fixed = {**SHORT, "constraint": {**control, "alpha": 0.5 * ratio, "strength": "alpha"}}
    expected = []
    second = made.run(TrialConfig.model_validate(fixed), lambda report: bool(expected.append(report)))
    penalties = [[one.scores.metrics["train/penalty"] for one in each] for each in (reports, expected)]
    assert penalties[0] == penalties[1]
    assert first.report.metrics == pytest.approx(second.report.metrics, nan_ok=True, rel=0, abs=0)
    # Another strength is measured no second time.
    made.run(matched.model_copy(update={"constraint": matched.constraint.model_copy(update={"alpha": 0.1})}), _go_on)
    assert len(list((made.directory / "matching").glob("*.json"))) == 1


def _go_on(_report):
    return False


PENALTIES = ["sdp", "subspace", "feature_l2", "anchor", "kl_reference", "constrained_sft", "safe_grad", "l2_init"]
WHOLE = ("safe_grad", "l2_init")


@pytest.mark.parametrize("tuning", [{"type": "lora", "rank": 2}, {"type": "full"}], ids=["lora", "full"])
def test_every_type_runs_holds_something_and_leaves_no_trace(made, tuning):
    made.prepare()
    before = weights_of(made.model)
    for stage in (0, 3):
        for kind in PENALTIES if stage < 3 else [kind for kind in PENALTIES if kind not in WHOLE]:
            block = {"type": kind, "alpha": 1e-3, **({"rank": 2} if kind == "subspace" else {})}
            block |= {"prompts": 3} if kind == "anchor" else {}
            changes = {"tuning": tuning, "constraint": block, "deepspeed": {"zero_stage": stage}}
            reports = []
            made.run(TrialConfig.model_validate({**SHORT, **changes}), lambda r, to=reports: bool(to.append(r)))
            assert reports[-1].scores.metrics["train/penalty"] > 0, (kind, stage)
    if tuning["type"] == "lora":
        unseen = {"tuning": tuning, "constraint": {"type": "null_space", "directions": 4}}
        made.run(TrialConfig.model_validate({**SHORT, **unseen}), _go_on)
    assert all(torch.equal(weight, before[name]) for name, weight in weights_of(made.model).items())
