"""Gradient surgery: by its formula, against a loop of two gradients, shared, resumed, and refused."""

import numpy as np
import pytest
import torch
from tiny import random_samples, tiny_llama
from trajectories import trial

from training.constraints.kl_reference import KlReference
from training.constraints.references.log_probabilities import LogProbabilityReferences, compute
from training.constraints.safe_grad import SafeGrad
from training.loop.loss import ConstrainedLoss
from training.loop.schedule import learning_rate_at
from training.loop.surgery import safety_samples
from training.loop.train import TrainingSet, plan_of, train
from training.loop.tuning import trainable

pytestmark = pytest.mark.usefixtures("process")

LORA = {"tuning": {"type": "lora", "rank": 4}}
FULL = {"tuning": {"type": "full"}, "learning_rate": 1e-3}
SURGERY = {"constraint": {"type": "safe_grad", "alpha": 0.5, "samples": 6}}


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def after(gradient, alignment, alpha):
    """What the step goes along."""
    return gradient + SafeGrad(1).added(gradient @ alignment, alignment @ alignment, alpha) * alignment


def test_what_opposes_alignment_is_taken_out_and_nothing_else():
    alignment = numbers(0, 2, 0)
    torch.testing.assert_close(after(numbers(3, -4, 1), alignment, 1e-12), numbers(3, 0, 1))
    torch.testing.assert_close(after(numbers(3, 4, 1), alignment, 1e-12), numbers(3, 4, 1))
    torch.testing.assert_close(after(numbers(3, -4, 1), alignment, 0.5), numbers(3, 1, 1))
    torch.testing.assert_close(after(numbers(3, -4, 1), numbers(0, 0, 0), 0.5), numbers(3, -4, 1))
    drawn = torch.randn(2, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gradient, alignment = drawn[0] - 2 * drawn[1], drawn[1]
    assert gradient @ alignment < 0
    assert (after(gradient, alignment, 1e-15) @ alignment).abs() < 1e-10


def test_safety_samples_come_in_turn():
    seen = np.concatenate([safety_samples(step, 3, 10, 22, seed=4) for step in range(8)])
    assert sorted(seen[:12]) == sorted(seen[12:]) == list(range(10, 22))
    assert list(seen[:12]) != list(seen[12:])
    assert list(safety_samples(5, 3, 10, 22, seed=4)) == list(seen[15:18])
    assert len(safety_samples(0, 30, 10, 22, seed=4)) == 30


def naive(changes, steps):
    """The same training with two whole gradients at hand and torch's AdamW."""
    config, samples = trial(**changes, steps=steps), random_samples(60)
    model, data = tiny_llama(), TrainingSet(samples, 40, None)
    kept = LogProbabilityReferences(compute(model, samples, "top"))
    plan = plan_of(config, data).steps
    conflicts = 0
    with trainable(model, config) as (trained, _):
        trained.train()
        weights = [one for one in trained.parameters() if one.requires_grad]
        adamw = torch.optim.AdamW(weights, weight_decay=0.0)
        objective = ConstrainedLoss(trained, KlReference())
        for step in range(steps):
            batch = samples.collate(plan[step])
            cross_entropy, _ = objective(batch, None, False)
            task = torch.autograd.grad(cross_entropy / len(batch.targets), weights)
            chosen = safety_samples(step, config.constraint.samples, 40, 60, config.seed)
            other = samples.collate(chosen)
            _, divergence = objective(other, kept.of(chosen, []), True)
            alignment = torch.autograd.grad(divergence / len(other.targets), weights)
            product = sum((one * two).sum() for one, two in zip(task, alignment, strict=True))
            square = sum(one.square().sum() for one in alignment)
            conflicts += int(product < 0)
            taken = product / square if product < 0 else 0.0
            for weight, one, two in zip(weights, task, alignment, strict=True):
                weight.grad = one - taken * two + config.constraint.alpha * two
            torch.nn.utils.clip_grad_norm_(weights, config.gradient_clipping)
            adamw.param_groups[0]["lr"] = learning_rate_at(step, config)
            adamw.step()
        return {name: one.detach().clone() for name, one in trained.named_parameters() if one.requires_grad}, conflicts


def trained_weights(changes, steps=6):
    config, samples = trial(**changes, steps=steps), random_samples(60)
    model = tiny_llama()
    data = TrainingSet(samples, 40, LogProbabilityReferences(compute(model, samples, "top")))
    with trainable(model, config) as (trained, _):
        train(trained, config, data, SafeGrad(config.constraint.samples))
        return {name: one.detach().clone() for name, one in trained.named_parameters() if one.requires_grad}


@pytest.mark.parametrize("changes", [LORA, FULL], ids=["lora", "full"])
@pytest.mark.parametrize("stage", [0, 1, 2])
def test_training_is_that_of_a_loop_with_both_gradients(changes, stage):
    settings = {**changes, **SURGERY}
    expected, conflicts = naive(settings, 6)
    assert conflicts >= 2, "the case would show nothing"
    for micro in (8, 2):
        found = trained_weights({**settings, "micro_batch_size": micro, "deepspeed": {"zero_stage": stage}})
        for name, one in expected.items():
            torch.testing.assert_close(found[name], one, rtol=2e-3, atol=2e-5, msg=lambda text, name=name: name + text)
