"""Gradient surgery: by its formula, against a loop of two gradients, shared, resumed, and refused."""

import numpy as np
import pytest
import torch
from ranks import on_ranks
from tiny import random_samples, tiny_llama
from trajectories import trial

from training.config import SafeGradConstraint, TrialConfig
from training.config.schedule import learning_rate_at
from training.constraints.kl_reference import KlReference
from training.constraints.references.log_probabilities import LogProbabilityReferences, compute
from training.constraints.safe_grad import SafeGrad
from training.distributed.process import start_process
from training.distributed.ranks import from_rank_zero
from training.errors import TrainingError
from training.loop.checkpointing import Checkpointing
from training.loop.loss import ConstrainedLoss
from training.loop.surgery import safety_samples
from training.loop.train import TrainingSet, TrialStopped, plan_of, train
from training.loop.tuning import trainable

pytestmark = pytest.mark.usefixtures("process")

LORA = {"tuning": {"type": "lora", "rank": 4}}
FULL = {"tuning": {"type": "full"}, "learning_rate": 1e-3}
AGAIN = {"gradient_checkpointing": True}
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
    return resumable(changes, steps=steps)


def resumable(changes, where=None, stop=None, steps=6):
    config, samples = trial(**changes, steps=steps), random_samples(60)
    model = tiny_llama()
    part = compute(model, samples, "top")  # by all ranks, and whole on rank 0 alone
    table = from_rank_zero(lambda: part)
    data = TrainingSet(samples, 40, LogProbabilityReferences(table))
    held = SafeGrad(config.constraint.samples) if config.constraint.active else None
    with trainable(model, config) as (trained, _):
        train(trained, config, data, held, lambda report: report.step == stop, checkpointing=where)
        return {name: one.detach().clone() for name, one in trained.named_parameters() if one.requires_grad}


CASES = [(LORA, 0, 2), (LORA | AGAIN, 2, 8), (FULL, 0, 8), (FULL, 2, 2)]


@pytest.mark.parametrize(("changes", "stage", "micro"), CASES)
def test_training_is_that_of_a_loop_with_both_gradients(changes, stage, micro):
    """In one forward pass a step and in four."""
    settings = {**changes, **SURGERY}
    expected, conflicts = naive(settings, 6)
    assert conflicts >= 2, "the case would show nothing"
    found = trained_weights({**settings, "micro_batch_size": micro, "deepspeed": {"zero_stage": stage}})
    for name, one in expected.items():
        torch.testing.assert_close(found[name], one, rtol=2e-3, atol=2e-5, msg=lambda text, name=name: name + text)


def test_steps_of_strength_0_are_those_of_plain_fine_tuning():
    plain = trained_weights({**LORA, "constraint": {"type": "safe_grad", "alpha": 0.0}}, 4)
    block = {"type": "safe_grad", "alpha": 0.5, "warmup_steps": 2, "alpha_after": 0.0}
    first = trained_weights({**LORA, "constraint": block}, 2)
    both = trained_weights({**LORA, "constraint": {**block, "alpha": 0.0, "alpha_after": 0.5, "warmup_steps": 4}}, 4)
    assert all(torch.isfinite(one).all() for one in first.values())
    for name, one in plain.items():
        torch.testing.assert_close(both[name], one, rtol=1e-4, atol=1e-6)


def test_a_training_that_was_stopped_comes_to_the_same(tmp_path):
    """Its pass over safety samples draws no dropout from the training's."""
    changes = {**LORA, **SURGERY, "tuning": {"type": "lora", "rank": 4, "dropout": 0.2}}
    whole = resumable(changes)
    where = Checkpointing(tmp_path / "kept", every=2)
    with pytest.raises(TrialStopped):
        resumable(changes, where, stop=4)
    again = resumable(changes, where)
    assert all(torch.equal(one, whole[name]) for name, one in again.items())


def case(changes):
    """Sums of the trained weights, on any rank."""
    start_process()
    return {name: float(one.double().abs().sum()) for name, one in trained_weights(changes).items()}


@pytest.mark.xdist_group("ranks")
@pytest.mark.parametrize("stage", [0, 2])
def test_two_ranks_come_to_what_one_does(stage):
    changes = {**LORA, **SURGERY, "micro_batch_size": 2, "deepspeed": {"zero_stage": stage}}
    first, second = on_ranks(2, case, changes)
    assert first == second
    assert first == pytest.approx(case(changes), rel=2e-4)


def test_it_needs_safety_samples():
    config, samples = trial(**LORA, **SURGERY, safety_share=0.0), random_samples(40)
    model = tiny_llama()
    kept = LogProbabilityReferences(compute(model, samples, "top"))
    with (
        trainable(model, config) as (trained, _),
        pytest.raises(TrainingError, match=r"constraint\.type \(safe_grad\) protects .* data\.safety has none"),
    ):
        train(trained, config, TrainingSet(samples, 40, kept), SafeGrad(6))


def test_it_needs_whole_weights():
    with pytest.raises(ValueError, match=r"constraint\.type \(safe_grad\) needs whole weights on every rank"):
        TrialConfig.model_validate({"constraint": {"type": "safe_grad"}, "deepspeed": {"zero_stage": 3}})
    with pytest.raises(ValueError, match="samples"):
        SafeGradConstraint(samples=0)
