"""Constraints on the weights: l2_init and freeze_layers."""

import pytest
import torch
from oracle import moved, penalty_by_hooks
from tiny import random_direction, random_samples, tiny_llama
from trajectories import trajectory, trial

from training.config import FreezeLayersConstraint, LoraTuning, TrialConfig
from training.constraints import build_constraint
from training.constraints.freeze_layers import freeze
from training.constraints.l2_init import L2Init, product_norm_squared
from training.errors import ModelError
from training.loop.tuning import trainable
from training.models.adapters import attach

INDICES = [3, 7, 11]


def test_norm_of_a_product_in_closed_form_with_its_gradient():
    a = torch.tensor([[1.0, 2.0, 0.0]], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([[3.0], [1.0]], dtype=torch.float64, requires_grad=True)
    assert product_norm_squared(a, b).item() == pytest.approx((1 + 4) * (9 + 1))
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((2, 5), (4, 2)))
    assert product_norm_squared(a, b).item() == pytest.approx((b @ a).square().sum().item())
    assert torch.autograd.gradcheck(product_norm_squared, (a.requires_grad_(), b.requires_grad_()))


def test_distance_of_adapters_is_that_of_the_merged_weights():
    initial = tiny_llama().double()
    adapted = moved(attach(tiny_llama().double(), LoraTuning(rank=2, alpha=6), 0))
    found = penalty_by_hooks(L2Init(torch.nn.Identity()), initial, adapted, random_samples(), INDICES, 24)
    merged = dict(adapted.merge_and_unload().named_parameters())
    expected = sum((merged[name] - weight).square().sum().item() for name, weight in initial.named_parameters())
    assert found == pytest.approx(expected)
    assert expected > 0


def test_distance_of_whole_weights():
    initial, current = tiny_llama().double(), moved(tiny_llama().double())
    found = penalty_by_hooks(L2Init(initial), initial, current, random_samples(), INDICES)
    pairs = zip(current.parameters(), initial.parameters(), strict=True)
    assert found == pytest.approx(sum((after - before).square().sum().item() for after, before in pairs))


def test_weights_that_it_does_not_know_are_refused_rather_than_left_free():
    adapted = attach(tiny_llama(), LoraTuning(rank=2), 0)
    adapted.base_model.model.model.norm.weight.requires_grad_(True)
    with pytest.raises(ModelError, match=r"l2_init\) knows only LoRA matrices, but .*norm\.weight is trained too"):
        penalty_by_hooks(L2Init(torch.nn.Identity()), None, adapted, random_samples(), INDICES)


@pytest.mark.parametrize("tuning", [{"type": "lora", "rank": 2}, {"type": "full"}], ids=["lora", "full"])
def test_frozen_layers_stay_bit_for_bit(process, tuning):
    model = tiny_llama()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    config = trial(tuning=tuning, constraint={"type": "freeze_layers", "layers": [0, 2]})
    assert build_constraint(config.constraint, random_direction(), torch.device("cpu")) is None
    with trainable(model, config) as (trained, _):
        free = [name for name, weight in trained.named_parameters() if weight.requires_grad]
    assert free
    assert not any(".layers.0." in name or ".layers.2." in name for name in free)
    assert any(".layers.1." in name for name in free)
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())


@pytest.mark.parametrize("stage", [0, 3])
def test_training_with_frozen_layers_is_that_of_fewer_adapters(process, stage):
    frozen = trajectory({"constraint": {"type": "freeze_layers", "layers": "0-1"}, "deepspeed": {"zero_stage": stage}})
    plain = trajectory({"constraint": {"alpha": 0}, "deepspeed": {"zero_stage": stage}})
    assert frozen["loss"][0] == pytest.approx(plain["loss"][0])
    assert frozen["loss"][-1] != plain["loss"][-1]
    assert set(frozen["penalty"]) == {0.0}


def test_freezing_everything_is_refused():
    adapted = attach(tiny_llama(), LoraTuning(rank=2), 0)
    with pytest.raises(ModelError, match=r"constraint\.layers \('0-2'\) freezes all that is trained"):
        freeze(adapted, FreezeLayersConstraint(layers="0-2"))
    with pytest.raises(ModelError, match=r"constraint\.layers \(3\) names layer 3, but the model has 3"):
        freeze(adapted, FreezeLayersConstraint(layers=3))


def test_l2_init_needs_whole_weights():
    with pytest.raises(ValueError, match=r"constraint\.type \(l2_init\) needs whole weights on every rank"):
        TrialConfig.model_validate({"constraint": {"type": "l2_init"}, "deepspeed": {"zero_stage": 3}})
