import pytest
import torch
from tiny import random_direction, random_samples, references_of, tiny_llama

from training.config import ProConConstraint
from training.constraints import ForwardPass, build_constraint
from training.constraints.procon import drift_sum, project
from training.data.samples import Batch
from training.errors import DirectionError, ModelError
from training.objective import Objective
from training.residual import capture

CPU = torch.device("cpu")


def test_projection_is_the_dot_product_at_the_given_positions():
    states = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]])
    assert project(states, torch.tensor([1, 2]), torch.tensor([0.6, 0.8])).tolist() == pytest.approx([5.0, 7.8])


@pytest.mark.parametrize(
    ("norm", "expected", "gradient"),
    [
        ("abs", 3.0, [1.0, -1.0, 0.0]),
        ("squared", 5.0, [2.0, -4.0, 0.0]),
        # Sample 0 has tokens changed by 1 and -2: sqrt((1 + 4) / 2); sample 1 did not change.
        ("token_l2", (5 / 2) ** 0.5, [0.5 / 2.5**0.5, -1 / 2.5**0.5, 0.0]),
    ],
)
def test_norms_in_closed_form_with_their_gradients(norm, expected, gradient):
    current = torch.tensor([2.0, 1.0, 4.0], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([1.0, 3.0, 4.0], dtype=torch.float64)
    total = drift_sum(current - reference, norm, torch.tensor([0, 0, 1]), 2)
    total.backward()
    assert total.item() == pytest.approx(expected)
    assert current.grad.tolist() == pytest.approx(gradient)


@pytest.mark.parametrize("norm", ["abs", "squared", "token_l2"])
def test_gradient_agrees_with_finite_differences(norm):
    generator = torch.Generator().manual_seed(0)
    current = torch.randn(6, dtype=torch.float64, generator=generator, requires_grad=True)
    reference = torch.randn(6, dtype=torch.float64, generator=generator)
    sample = torch.tensor([0, 0, 1, 1, 1, 2])
    assert torch.autograd.gradcheck(lambda z: drift_sum(z - reference, norm, sample, 3), (current,))


@pytest.mark.parametrize("norm", ["abs", "squared", "token_l2"])
def test_where_training_starts_penalty_and_gradient_are_finite(norm):
    current = torch.ones(4, requires_grad=True)
    total = drift_sum(current - 1, norm, torch.tensor([0, 0, 1, 1]), 2)
    total.backward()
    assert total.item() == pytest.approx(0, abs=1e-15)
    assert torch.isfinite(current.grad).all()


def _moved(model, amount=0.05):
    """The model after a training that shook every weight."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += amount * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return model


def _oracle(initial, current, samples, indices, direction, config):
    """The penalty the slow way: both models run one sample at a time, states read from ``hidden_states``."""
    total = 0.0
    for layer in config.layers:
        # hidden_states[i] is the input of block i, and the output of the block before it.
        entry = layer if config.site == "block_input" else layer + 1
        unit = direction.unit[entry - 1]
        scale = direction.separation[entry - 1].item() if config.alpha_scale == "separation" else 1.0
        changes = []
        for index in indices:
            ids = torch.tensor(samples.tokens[samples.offsets[index] : samples.offsets[index + 1]])[None]
            start = int(samples.response_starts[index])
            after, before = (
                model(input_ids=ids, output_hidden_states=True).hidden_states[entry][0, start:]
                for model in (current, initial)
            )
            changes.append((after - before) @ unit / scale)
        if config.norm == "token_l2":
            total += torch.stack([change.square().mean().sqrt() for change in changes]).mean().item()
        else:
            joined = torch.cat(changes)
            total += (joined.abs() if config.norm == "abs" else joined.square()).mean().item()
    return total


@pytest.mark.parametrize("site", ["block_input", "block_output"])
@pytest.mark.parametrize("norm", ["abs", "squared", "token_l2"])
@pytest.mark.parametrize("alpha_scale", ["none", "separation"])
def test_hooks_agree_with_a_naive_pass_of_two_models_in_float64(norm, site, alpha_scale):
    # The last entry of hidden_states comes after the final norm, so the oracle cannot see the last block's output.
    layers = [0, 1] if site == "block_output" else [1, 2]
    config = ProConConstraint(alpha=1, norm=norm, site=site, alpha_scale=alpha_scale, layers=layers)
    initial, current = tiny_llama().double(), _moved(tiny_llama().double())
    samples, direction = random_samples(), random_direction()
    direction.unit = direction.unit.double()
    constraint = build_constraint(config, direction, CPU)
    indices = [3, 7, 11, 20]
    batch = samples.collate(indices)
    with torch.no_grad():
        with capture(initial, constraint.layers) as states:
            initial(input_ids=batch.input_ids)
            z_0 = torch.stack([project(states[i], batch.response, direction.unit[i]) for i in constraint.layers], 1)
        _, total = Objective(current, constraint)(batch, z_0, True)
    divisor = len(indices) if norm == "token_l2" else len(batch.response)
    expected = _oracle(initial, current, samples, indices, direction, config)
    assert total.item() / divisor == pytest.approx(expected, rel=1e-10)


def test_stored_references_make_the_initial_penalty_vanish():
    model, samples, direction = tiny_llama(), random_samples(), random_direction()
    references = references_of(model, samples, direction)
    constraint = build_constraint(ProConConstraint(alpha=1), direction, CPU)
    indices = [0, 5, 9]
    batch = samples.collate(indices)
    _, total = Objective(model, constraint)(batch, references.of(indices, [0, 1, 2]), True)
    total.backward()
    # Other batches were computed in another order, so the states differ in their last bits: that is no drift.
    assert total.item() == 0
    assert all(not parameter.grad.any() for parameter in model.model.layers.parameters())


def test_a_state_without_gradient_is_refused_rather_than_silently_unconstrained():
    constraint = build_constraint(ProConConstraint(alpha=1, layers=1), random_direction(), CPU)
    states = {1: torch.zeros(1, 3, 16)}
    one = torch.tensor([1])
    batch = Batch(torch.ones(1, 3, dtype=torch.long), one, one - 1, one, torch.tensor([0]))
    with pytest.raises(ModelError, match="does not depend on any trained weight"):
        constraint.penalty_sum(ForwardPass(batch, states, torch.zeros(1, 1)))


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


def test_no_strength_is_no_constraint():
    assert build_constraint(ProConConstraint(alpha=0), random_direction(), CPU) is None
    assert (
        build_constraint(ProConConstraint(alpha=0, warmup_steps="all", alpha_after=1), random_direction(), CPU) is None
    )
    assert (
        build_constraint(ProConConstraint(alpha=0, warmup_steps=3, alpha_after=1), random_direction(), CPU) is not None
    )
