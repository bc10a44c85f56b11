"""ProCon, its measures, and what all constraints share: positions, layers, building."""

import math

import pytest
import torch
from oracle import moved, oracle_penalty, penalty_by_hooks, references_for
from tiny import random_direction, random_samples, references_of, tiny_llama

from training.config import ProConConstraint
from training.constraints import ForwardPass, build_constraint
from training.constraints.positions import positions_of, tokens_of
from training.constraints.projection import beyond_rounding, drift_sum, project, rounding_of
from training.data.samples import Batch
from training.errors import DirectionError, ModelError
from training.loop.loss import ConstrainedLoss

CPU = torch.device("cpu")
NORMS = ["abs", "squared", "token_l2"]
INDICES = [3, 7, 11, 20]


def test_projection_is_the_dot_product_at_the_given_positions():
    states = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]])
    unit = torch.tensor([0.6, 0.8])
    positions = torch.tensor([1, 2])
    assert project(states, positions, unit).tolist() == pytest.approx([5.0, 7.8])
    both = project(states, positions, torch.stack([unit, torch.tensor([1.0, 0.0])]))
    assert both.flatten().tolist() == pytest.approx([5.0, 3.0, 7.8, 5.0])


@pytest.mark.parametrize(
    ("norm", "over_tokens", "expected", "gradient"),
    [
        ("abs", "mean", 3.0, [1.0, -1.0, 0.0]),
        ("squared", "mean", 5.0, [2.0, -4.0, 0.0]),
        # Sample 0 has tokens changed by 1 and -2: sqrt((1 + 4) / 2); sample 1 did not change.
        ("token_l2", "mean", (5 / 2) ** 0.5, [0.5 / 2.5**0.5, -1 / 2.5**0.5, 0.0]),
        ("token_l2", "sum", 5**0.5, [1 / 5**0.5, -2 / 5**0.5, 0.0]),
    ],
)
def test_norms_in_closed_form_with_their_gradients(norm, over_tokens, expected, gradient):
    current = torch.tensor([2.0, 1.0, 4.0], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([1.0, 3.0, 4.0], dtype=torch.float64)
    total = drift_sum((current - reference)[:, None], norm, torch.tensor([0, 0, 1]), over_tokens)
    total.backward()
    assert total.item() == pytest.approx(expected)
    assert current.grad.tolist() == pytest.approx(gradient)


@pytest.mark.parametrize("norm", NORMS)
def test_gradient_agrees_with_finite_differences(norm):
    generator = torch.Generator().manual_seed(0)
    current = torch.randn(6, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    reference = torch.randn(6, 2, dtype=torch.float64, generator=generator)
    sample = torch.tensor([0, 0, 1, 1, 1, 2])
    assert torch.autograd.gradcheck(lambda z: drift_sum(z - reference, norm, sample), (current,))


@pytest.mark.parametrize("norm", NORMS)
def test_where_training_starts_penalty_and_gradient_vanish(norm):
    current = torch.ones(4, 1, requires_grad=True)
    total = drift_sum(current - 1, norm, torch.tensor([0, 0, 1, 1]))
    total.backward()
    assert total.item() == 0
    assert not current.grad.any()


def test_changes_within_rounding_count_as_none():
    rounding = torch.tensor([[2e-6, 2e-4], [2e-6, 2e-4]])
    change = torch.tensor([[1e-6, 1e-4], [2e-6, 3e-4]])
    reference = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    kept = beyond_rounding(change, reference, rounding, torch.float32)
    # All tokens of a layer together: rounding explains the first, and in the second even the small change counts.
    assert kept.flatten().tolist() == pytest.approx([0, 1e-4, 0, 3e-4])
    # fp16 keeps 1.0 to half of 2^-10, which 3e-4 is below.
    assert not beyond_rounding(change, reference, rounding, torch.float16).any()


def test_a_token_of_huge_states_does_not_hide_the_drift_of_the_others():
    rounding = torch.tensor([[1e3], [1e-3], [1e-3], [1e-3]])
    change = torch.tensor([[500.0], [5e-3], [5e-3], [5e-3]])
    assert beyond_rounding(change, torch.zeros(4, 1), rounding, torch.float32).tolist() == change.tolist()
    change[0] = 0.0
    assert beyond_rounding(change / 10, torch.zeros(4, 1), rounding, torch.float32).tolist() == [[0.0]] * 4


def test_no_tokens_have_no_drift():
    nothing = torch.zeros(0, 3)
    assert beyond_rounding(nothing, nothing, nothing, torch.float32).shape == (0, 3)


def test_rounding_is_that_of_the_models_own_number_format():
    states = torch.tensor([[[3.0, 40.0, 500.0, 6.0], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]])
    where, unit = torch.tensor([0, 2]), torch.tensor([0.8, 0.6, 0.0, 0.0])
    spread = torch.tensor([math.hypot(2.4, 24.0), 1.0])  # the large third component has no share in the projection
    for kept, weights, eps in (
        (torch.float32, torch.float32, 2**-23),
        (torch.bfloat16, torch.bfloat16, 2**-7),
        (torch.float16, torch.float16, 2**-10),
        (torch.float32, torch.bfloat16, 2**-7),
    ):
        found = rounding_of(states.to(kept), where, unit, weights, blocks=9)
        assert found.tolist() == pytest.approx((1.5 * 3 * (eps + 2 * 2**-23) * spread).tolist())
    several = rounding_of(states, where, torch.stack([unit, unit.flip(0)]), torch.float32, blocks=1)
    assert several[:, 0].tolist() == pytest.approx((4.5 * 2**-23 * spread).tolist())


@pytest.mark.parametrize("row_length", [None, 24], ids=["padded", "packed"])
@pytest.mark.parametrize("tokens", ["response", "last_prompt", "all"])
def test_positions_point_at_the_tokens_of_each_sample(tokens, row_length):
    samples = random_samples()
    batch = samples.collate(INDICES, row_length)
    found = positions_of(batch, tokens)
    expected, owners = [], []
    for number, index in enumerate(INDICES):
        ids = samples.tokens[samples.offsets[index] : samples.offsets[index + 1]].tolist()
        start = int(samples.response_starts[index])
        chosen = {"response": ids[start:], "last_prompt": ids[start - 1 : start], "all": ids}[tokens]
        assert len(chosen) == tokens_of(samples, tokens)[index]
        expected += chosen
        owners += [number] * len(chosen)
    assert batch.input_ids.flatten()[found.index].tolist() == expected
    assert found.sample.tolist() == owners


@pytest.mark.parametrize("row_length", [None, 24], ids=["padded", "packed"])
@pytest.mark.parametrize("tokens", ["response", "last_prompt", "all"])
@pytest.mark.parametrize("site", ["block_input", "block_output"])
@pytest.mark.parametrize("norm", NORMS)
def test_hooks_agree_with_a_naive_pass_of_two_models_in_float64(norm, site, tokens, row_length):
    # The last entry of hidden_states comes after the final norm, so the oracle cannot see the last block's output.
    layers = [0, 1] if site == "block_output" else [1, 2]
    config = ProConConstraint(alpha=1, norm=norm, site=site, tokens=tokens, layers=layers)
    _agree(config, row_length)


@pytest.mark.parametrize(
    "changes",
    [
        {"alpha_scale": "separation"},
        {"token_reduction": "sum"},
        {"token_reduction": "sum", "norm": "token_l2"},
        {"layer_reduction": "mean", "norm": "squared"},
    ],
)
def test_scales_and_reductions_agree_with_the_naive_pass(changes):
    _agree(ProConConstraint(alpha=1, layers=[0, 1], **changes), None)


def _agree(config, row_length):
    initial, current = tiny_llama().double(), moved(tiny_llama().double())
    samples, direction = random_samples(), random_direction()
    direction.unit = direction.unit.double()
    constraint = build_constraint(config, direction, CPU)
    found = penalty_by_hooks(constraint, initial, current, samples, INDICES, row_length)
    assert found == pytest.approx(oracle_penalty(initial, current, samples, INDICES, direction, config), rel=1e-9)


def test_stored_references_make_the_initial_penalty_vanish():
    model, samples, direction = tiny_llama(), random_samples(), random_direction()
    references = references_of(model, samples, direction)
    constraint = build_constraint(ProConConstraint(alpha=1), direction, CPU)
    indices = [0, 5, 9]
    batch = samples.collate(indices)
    _, total = ConstrainedLoss(model, constraint)(batch, references.of(indices, [0, 1, 2]), True)
    total.backward()
    # Other batches were computed in another order, so the states differ in their last bits: that is no drift.
    assert total.item() == 0
    assert all(not parameter.grad.any() for parameter in model.model.layers.parameters())


def test_half_precision_references_make_it_vanish_too_and_change_little_else():
    model, samples, direction = tiny_llama(), random_samples(), random_direction()
    fine = build_constraint(ProConConstraint(alpha=1), direction, CPU)
    coarse = build_constraint(ProConConstraint(alpha=1), direction, CPU, reference_precision=torch.float16)
    kept = references_for(fine, model, samples, torch.float16)
    batch, rows = samples.collate(INDICES), kept.of(INDICES, [0, 1, 2])
    assert ConstrainedLoss(model, fine)(batch, rows, True)[1].item() > 0
    assert ConstrainedLoss(model, coarse)(batch, rows, True)[1].item() == 0
    current = moved(tiny_llama())
    exact = ConstrainedLoss(current, fine)(batch, references_for(fine, model, samples).of(INDICES, [0, 1, 2]), True)[1]
    assert ConstrainedLoss(current, coarse)(batch, rows, True)[1].item() == pytest.approx(exact.item(), rel=1e-2)


def test_a_state_without_gradient_is_refused_rather_than_silently_unconstrained():
    constraint = build_constraint(ProConConstraint(alpha=1, layers=1), random_direction(), CPU)
    states = {1: torch.zeros(1, 3, 16)}
    one = torch.tensor([1])
    batch = Batch(torch.ones(1, 3, dtype=torch.long), one, one - 1, one, torch.tensor([0]))
    seen = ForwardPass(batch, states, torch.zeros(1, 1), torch.zeros(1, 8), torch.nn.Identity())
    with pytest.raises(ModelError, match="does not depend on any trained weight"):
        constraint.penalty_sum(seen)


def test_the_input_of_the_first_layer_has_no_direction():
    with pytest.raises(ModelError, match=r"constraint\.layers \(0\) with site block_input"):
        build_constraint(ProConConstraint(alpha=1, layers=0, site="block_input"), random_direction(), CPU)


def test_a_layer_outside_the_model_is_refused():
    with pytest.raises(ModelError, match=r"constraint\.layers \(7\) names layer 7, but the model has 3"):
        build_constraint(ProConConstraint(alpha=1, layers=7), random_direction(), CPU)


def test_a_direction_of_another_site_is_refused():
    direction = random_direction()
    direction.site = "block_input"
    with pytest.raises(DirectionError, match="block_output"):
        build_constraint(ProConConstraint(alpha=1), direction, CPU)


@pytest.mark.parametrize(
    ("schedule", "active"),
    [
        ({}, False),
        ({"alpha_after": 1}, False),
        ({"alpha_after": 1, "warmup_steps": 3}, True),
        ({"alpha_after": 1, "decay": "linear"}, True),
    ],
)
def test_no_strength_is_no_constraint(schedule, active):
    built = build_constraint(ProConConstraint(alpha=0, **schedule), random_direction(), CPU)
    assert (built is not None) == active
