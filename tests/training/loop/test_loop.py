import copy

import pytest
import torch
import torch.nn.functional as F
from tiny import random_direction, random_samples, references_of, tiny_llama
from trajectories import trajectory, trial

from training.config.schedule import alpha_at, learning_rate_at
from training.constraints import build_constraint
from training.data.batch_plan import BatchPlan
from training.errors import DivergedError, TrainingError
from training.loop.train import TrainingSet, TrialStopped, train
from training.models.adapters import attach
from training.models.residual import capture

pytestmark = pytest.mark.usefixtures("process")

CPU = torch.device("cpu")


def training_set(samples, references=None):
    return TrainingSet(samples, 40, references)


def naive_training(model, config, samples, direction):
    """The same training as anyone would write it: labels, the full output head, a second model for the references."""
    initial = copy.deepcopy(model)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, weight_decay=config.weight_decay)
    plan = BatchPlan.make(
        task=40,
        safety=len(samples) - 40,
        share=config.safety_share,
        lengths=samples.lengths,
        steps=config.steps,
        batch_size=config.batch_size,
        seed=config.seed,
    )
    losses, penalties, norms = [], [], []
    held = config.constraint
    for step in range(config.steps):
        batch = samples.collate(plan.steps[step])
        labels = torch.full_like(batch.input_ids, -100).flatten()
        labels[batch.response] = batch.targets
        labels = labels.view_as(batch.input_ids)
        with capture(model, [0, 1, 2]) as states, capture(initial, [0, 1, 2]) as before:
            logits = model(input_ids=batch.input_ids).logits
            with torch.no_grad():
                initial(input_ids=batch.input_ids)
            penalty = sum(((states[i] - before[i])[labels != -100] @ direction.unit[i]).abs().mean() for i in range(3))
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        alpha = alpha_at(step, alpha=held.alpha, warmup_steps=held.warmup_steps, alpha_after=held.alpha_after)
        optimizer.zero_grad()
        (loss + alpha * penalty).backward()
        norms.append(torch.nn.utils.clip_grad_norm_(parameters, config.gradient_clipping).item())
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, config)
        optimizer.step()
        losses.append(loss.item())
        penalties.append(penalty.item() if alpha else 0.0)
    return losses, penalties, norms


@pytest.mark.parametrize(
    ("stage", "tuning", "constraint"),
    [
        (0, {"type": "lora", "rank": 4}, {"alpha": 0.3}),
        (1, {"type": "lora", "rank": 4}, {"alpha": 0.3}),
        (2, {"type": "lora", "rank": 4}, {"alpha": 0.3}),
        (0, {"type": "full"}, {"alpha": 0.3, "warmup_steps": 3}),
        (3, {"type": "full"}, {"alpha": 0.3, "warmup_steps": 2, "alpha_after": 0.1}),
    ],
)
def test_trajectory_is_that_of_a_naive_loop(stage, tuning, constraint):
    changes = {
        "tuning": tuning,
        "constraint": constraint,
        "deepspeed": {"zero_stage": stage},
        "weight_decay": 0.1,
        "micro_batch_size": 4,
    }
    config, model, samples, direction = trial(**changes), tiny_llama(), random_samples(60), random_direction()
    if tuning["type"] == "lora":
        model = attach(model, config.tuning, config.seed)
    losses, penalties, norms = naive_training(model, config, samples, direction)
    found = trajectory(changes)
    assert found["loss"] == pytest.approx(losses, rel=1e-4)
    assert found["penalty"] == pytest.approx(penalties, rel=5e-3, abs=1e-4)
    assert found["gradient_norm"] == pytest.approx(norms, rel=1e-3)
    assert max(found["penalty"]) > 0.01, "the model never moved, so that nothing was compared"


@pytest.mark.parametrize("stage", [0, 2, 3])
@pytest.mark.parametrize("tuning", [{"type": "lora", "rank": 4}, {"type": "full"}], ids=["lora", "full"])
def test_gradient_checkpointing_changes_no_loss_and_no_penalty(tuning, stage):
    changes = {
        "tuning": tuning,
        "learning_rate": 3e-3,
        "deepspeed": {"zero_stage": stage},
        "constraint": {"alpha": 1.0},
    }
    kept, again = (trajectory({**changes, "gradient_checkpointing": enabled}) for enabled in (False, True))
    assert again == kept
    assert kept["penalty"][-1] > 1e-3


def test_gradient_checkpointing_computes_the_layers_again_and_is_gone_afterwards():
    model, samples, calls = tiny_llama(), random_samples(60), []
    model.model.layers[1].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    config = trial(constraint={"alpha": 0.0}, tuning={"type": "full"}, gradient_checkpointing=True)
    train(model, config, training_set(samples), None)
    assert len(calls) == 2 * config.steps
    assert not model.is_gradient_checkpointing


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_offloaded_optimizer_states_train_the_same(stage):
    overrides = {"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}
    plain, offloaded = (
        trajectory({"deepspeed": {"zero_stage": stage, "overrides": found}}) for found in ({}, overrides)
    )
    assert offloaded["loss"] == pytest.approx(plain["loss"], rel=1e-5)


@pytest.mark.parametrize("stage", [0, 2])
@pytest.mark.parametrize("tuning", [{"type": "lora", "rank": 4}, {"type": "full"}], ids=["lora", "full"])
def test_gradients_reach_exactly_the_trainable_parameters(tuning, stage):
    """With a penalty alone as well as with the cross-entropy: seen where autograd hands each gradient over."""
    config = trial(tuning=tuning, deepspeed={"zero_stage": stage}, steps=2, constraint={"alpha": 1.0})
    model, samples, direction = tiny_llama(), random_samples(60), random_direction()
    references = references_of(model, samples, direction)
    model = attach(model, config.tuning, 0) if tuning["type"] == "lora" else model
    reached, wanted = set(), set()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            wanted.add(name)
            parameter.register_hook(lambda gradient, name=name: reached.add(name) if gradient.any() else None)
    train(model, config, training_set(samples, references), build_constraint(config.constraint, direction, CPU))
    assert reached == wanted
    assert all("lora_" in name for name in wanted) == (tuning["type"] == "lora")
    assert all(p.grad is None or not p.grad.any() for n, p in model.named_parameters() if n not in wanted)


@pytest.mark.parametrize("tuning", [{"type": "lora", "rank": 4}, {"type": "full"}], ids=["lora", "full"])
def test_strength_zero_is_bit_equal_to_no_constraint(tuning):
    without = trajectory({"tuning": tuning, "constraint": {"alpha": 0.0}})
    # Built, since alpha is positive, but never applied: the warm-up has no steps.
    switched_off = trajectory({"tuning": tuning, "constraint": {"alpha": 5.0, "warmup_steps": 0}})
    applied = trajectory({"tuning": tuning, "constraint": {"alpha": 5.0}})
    assert switched_off == without
    assert applied["loss"] != without["loss"]


def test_only_trainable_parameters_move():
    config, samples, direction = trial(), random_samples(60), random_direction()
    model = tiny_llama()
    references = references_of(model, samples, direction)
    adapted = attach(model, config.tuning, 0)
    before = {name: parameter.detach().clone() for name, parameter in adapted.named_parameters()}
    constraint = build_constraint(config.constraint, direction, CPU)
    train(adapted, config, training_set(samples, references), constraint)
    for name, parameter in adapted.named_parameters():
        assert torch.equal(parameter, before[name]) == ("lora_" not in name), name


def test_the_penalty_holds_projections_back():
    free, held = (trajectory({"steps": 20, "constraint": {"alpha": alpha}}) for alpha in (1e-9, 3.0))
    assert held["penalty"][-1] < 0.5 * free["penalty"][-1]


def test_reports_average_the_steps_since_the_last():
    config = trial(log_every=4, steps=10)
    samples, direction = random_samples(60), random_direction()
    reports = []
    model = tiny_llama()
    references = references_of(model, samples, direction)
    constraint = build_constraint(config.constraint, direction, CPU)
    adapted = attach(model, config.tuning, config.seed)
    train(adapted, config, training_set(samples, references), constraint, lambda r: bool(reports.append(r)))
    single = trajectory({"steps": 10})
    assert [report.step for report in reports] == [4, 8, 10]
    for report, part in zip(reports, (slice(0, 4), slice(4, 8), slice(8, 10)), strict=True):
        losses, penalties = single["loss"][part], single["penalty"][part]
        metrics = report.scores.metrics
        assert metrics["train/loss"] == pytest.approx(sum(losses) / len(losses))
        assert metrics["train/penalty"] == pytest.approx(sum(penalties) / len(penalties))
        assert metrics["train/penalty_ratio"] == pytest.approx(0.1 * metrics["train/penalty"] / metrics["train/loss"])
        assert metrics["train/tokens_per_second"] > 0
        assert metrics["train/alpha"] == 0.1
    assert reports[-1].scores.metrics["train/learning_rate"] == learning_rate_at(9, config)


def test_a_report_can_stop_the_training():
    samples = random_samples(60)
    config = trial(constraint={"alpha": 0.0})
    with pytest.raises(TrialStopped) as stopped:
        train(attach(tiny_llama(), config.tuning, 0), config, training_set(samples), None, lambda r: r.step == 3)
    assert stopped.value.step == 3


def test_a_loss_that_is_not_finite_names_step_and_samples():
    samples = random_samples(60)
    config = trial(
        learning_rate=1e39, lr_warmup_steps=0, log_every=5, constraint={"alpha": 0.0}, tuning={"type": "full"}
    )
    with pytest.raises(
        DivergedError,
        match=r"not finite at step 2 \(cross-entropy nan.* on samples (task|safety) \d+, .* checkpoint is none: lower",
    ):
        train(tiny_llama(), config, training_set(samples), None)


def test_a_batch_that_cannot_be_shared_is_refused():
    config = trial(batch_size=8, micro_batch_size=8)
    object.__setattr__(config, "micro_batch_size", 3)
    with pytest.raises(TrainingError, match="use a divisor of 8"):
        train(tiny_llama(), config, training_set(random_samples(60)), None)
