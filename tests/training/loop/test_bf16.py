"""Training in bf16: what rounding explains is no drift, and DeepSpeed steps and adds up as in float32."""

import numpy as np
import pytest
import torch
from oracle import moved, oracle_penalty, references_for
from test_loop import naive_training
from tiny import random_direction, random_samples, tiny_llama
from trajectories import trajectory, trial

from training.config import ProConConstraint, RandomDirectionConstraint
from training.constraints import build_constraint
from training.constraints.procon import Measure, ProCon
from training.constraints.references.files import starts_of
from training.constraints.references.projections import References, compute
from training.constraints.subspace import Subspace
from training.distributed import engine as engines
from training.distributed.deepspeed_config import stage_sentence
from training.loop.loss import ConstrainedLoss
from training.loop.train import TrainingSet, train
from training.models.adapters import attach

pytestmark = pytest.mark.usefixtures("process")

CPU = torch.device("cpu")
LAYERS, WIDTH = 6, 64


def model_in(precision):
    sizes = {"hidden_size": WIDTH, "intermediate_size": 128, "num_hidden_layers": LAYERS, "initializer_range": 0.1}
    return tiny_llama(**sizes).to(precision)


def subspace_units():
    raw = torch.randn(LAYERS, WIDTH, 2, generator=torch.Generator().manual_seed(2))
    return torch.linalg.qr(raw).Q.transpose(1, 2).contiguous()


def constraints():
    """One of every kind that leaves out what rounding explains, by name."""
    direction = random_direction(LAYERS, WIDTH)
    blocks = {
        **{f"procon-{norm}": ProConConstraint(alpha=1, norm=norm) for norm in ("abs", "squared", "token_l2")},
        "procon-scaled": ProConConstraint(alpha=1, alpha_scale="separation"),
        "random_direction": RandomDirectionConstraint(alpha=1),
    }
    made = {name: build_constraint(block, direction, CPU) for name, block in blocks.items()}
    sdp = Measure("squared", "response", "mean", "mean")
    made["sdp"] = ProCon(direction.unit, direction.separation, range(LAYERS), sdp, CPU)
    made["subspace"] = Subspace(subspace_units(), range(LAYERS), "response", CPU)
    return made


def kept_of(constraint, model, samples):
    """References as training makes them: many samples at once, and not those of one step."""
    unit = constraint.wants.unit
    table = compute(model, samples, unit, "block_output")
    return References(table, starts_of(samples.response_lengths), unit.shape[1] if unit.ndim == 3 else 1)


@pytest.mark.parametrize("name", constraints())
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_at_the_start_no_entry_counts_as_drift_and_no_gradient_is_left(name, precision):
    constraint, model, samples = constraints()[name], model_in(precision), random_samples(60)
    kept = kept_of(constraint, model, samples)
    draw = np.random.default_rng(0)
    for size in (1, 4, 4, 8, 13):
        chosen = draw.choice(60, size, replace=False)
        for parameter in model.parameters():
            parameter.grad = None
        batch, rows = samples.collate(chosen), kept.of(chosen, list(constraint.layers))
        _, penalty = ConstrainedLoss(model, constraint)(batch, rows, True)
        assert penalty.item() == 0
        penalty.backward()
        assert all(parameter.grad is None or not parameter.grad.any() for parameter in model.parameters())


def test_rounding_of_bf16_is_there_to_be_left_out():
    """What the test above would be without: two passes over the same samples do differ."""
    constraint, model, samples = constraints()["procon-abs"], model_in(torch.bfloat16), random_samples(60)
    kept = kept_of(constraint, model, samples)
    one_by_one = references_for(constraint, model, samples)
    assert (torch.from_numpy(kept.projections - one_by_one.projections).abs() > 1e-4).float().mean() > 0.01


@pytest.mark.parametrize("amount", [0.002, 0.01, 0.05])
@pytest.mark.parametrize("norm", ["abs", "squared", "token_l2"])
def test_real_drift_is_seen_in_bf16_as_in_float32(norm, amount):
    """Also where it is no larger than what rounding moves a single token by."""
    layers = list(range(LAYERS - 1))  # the oracle reads hidden_states, whose last entry comes after the final norm
    config, direction = ProConConstraint(alpha=1, norm=norm, layers=layers), random_direction(LAYERS, WIDTH)
    samples, chosen = random_samples(60), np.arange(8)
    initial, current = model_in(torch.bfloat16), moved(model_in(torch.float32), amount).to(torch.bfloat16)
    constraint = build_constraint(config, direction, CPU)
    rows = kept_of(constraint, initial, samples).of(chosen, layers)
    _, total = ConstrainedLoss(current, constraint)(samples.collate(chosen), rows, True)
    found = total.item() / constraint.counted(samples)[chosen].sum()
    exact = oracle_penalty(initial.float(), current.float(), samples, chosen, direction, config)
    assert found == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_optimizer_counts_the_steps_that_were_trained(monkeypatch, stage, precision):
    made, counts = [], []
    original = engines.initialise
    monkeypatch.setattr(engines, "initialise", lambda *given: made.append(original(*given)) or made[0])

    def count(_model):
        optimizer = made[0].optimizer
        while hasattr(optimizer, "optimizer"):
            optimizer = optimizer.optimizer
        counts.extend(float(state["step"]) for state in optimizer.state.values())

    config = trial(steps=2, precision=precision, deepspeed={"zero_stage": stage}, constraint={"alpha": 0})
    model = attach(tiny_llama().to(torch.bfloat16 if precision == "bf16" else torch.float32), config.tuning, 0)
    train(model, config, TrainingSet(random_samples(60), 40, None), None, finish=count)
    assert set(counts) == {2.0}


def test_a_stage_that_is_run_as_another_is_told():
    told = stage_sentence(trial(precision="bf16", deepspeed={"zero_stage": 0}))
    assert "trial.deepspeed.zero_stage (0) is run as 1" in told
    assert stage_sentence(trial(precision="bf16", deepspeed={"zero_stage": 2})) is None
    assert stage_sentence(trial(deepspeed={"zero_stage": 0})) is None


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_a_run_in_bf16_follows_two_models_in_float32(stage):
    """Within bf16's rounding, for as many steps as AdamW needs to carry it beyond."""
    changes = {
        "constraint": {"alpha": 0.3},
        "deepspeed": {"zero_stage": stage},
        "micro_batch_size": 4,
        "steps": 7,
        "lr_warmup_steps": 0,
    }
    config, model, samples, direction = trial(**changes), tiny_llama(), random_samples(60), random_direction()
    losses, penalties, norms = naive_training(attach(model, config.tuning, 0), config, samples, direction)
    found = trajectory({**changes, "precision": "bf16"})
    assert found["penalty"][0] == 0
    assert found["loss"] == pytest.approx(losses, rel=1e-2)
    assert found["penalty"][:3] == pytest.approx(penalties[:3], rel=0.03)
    assert found["penalty"] == pytest.approx(penalties, rel=0.2)
    assert np.mean(found["penalty"]) == pytest.approx(np.mean(penalties), rel=0.1)
    assert found["gradient_norm"] == pytest.approx(norms, rel=0.3)
    assert np.mean(penalties) > 1


def test_buffers_keep_their_own_precision():
    """Rotary frequencies rounded to bf16 would turn long samples into others: a new DeepSpeed must not do that."""
    config = trial(steps=1, precision="bf16", constraint={"alpha": 0})
    model = attach(tiny_llama().to(torch.bfloat16), config.tuning, 0)
    frequencies = model.base_model.model.model.rotary_emb.inv_freq
    frequencies.data = frequencies.data.float()
    train(model, config, TrainingSet(random_samples(60), 40, None), None)
    assert model.base_model.model.model.rotary_emb.inv_freq.dtype == torch.float32
