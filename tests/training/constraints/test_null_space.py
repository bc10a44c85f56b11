"""Adapters that do not see harmful prompts' main directions."""

import pytest
import torch
from ranks import on_ranks
from tiny import random_samples, tiny_llama
from trajectories import trial

from training.config import LoraTuning, TrialConfig
from training.constraints.null_space import NullSpace, main_directions, without
from training.distributed.process import start_process
from training.errors import ModelError
from training.loop.checkpointing import Checkpointing, latest
from training.loop.export import trained_model_of
from training.loop.train import TrainingSet, TrialStopped
from training.loop.tuning import tuned
from training.models.adapters import attach

PROMPTS = [[5, 9, 77, 31], [5, 140, 12]]
OTHER = [5, 61, 200, 18, 3]
BLOCK = {"type": "null_space", "directions": 7}


@pytest.mark.parametrize(("tokens", "width"), [(30, 6), (4, 9)], ids=["tall", "wide"])
def test_main_directions_are_the_singular_vectors(tokens, width):
    inputs = torch.randn(tokens, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = main_directions(inputs, 3)
    torch.testing.assert_close(found.mT @ found, torch.eye(3, dtype=torch.float64))
    expected = torch.linalg.svd(inputs).Vh[:3].mT
    torch.testing.assert_close(found @ found.mT, expected @ expected.mT)
    assert main_directions(inputs[:2], 3).shape == (width, 2), "two tokens have two directions"


def test_what_is_taken_out_is_gone_and_the_rest_is_as_it_was():
    inputs = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    held = main_directions(inputs, 2)
    left = without(inputs, held)
    assert (left @ held).abs().max() < 1e-12
    torch.testing.assert_close(left + (inputs @ held) @ held.mT, inputs)
    torch.testing.assert_close(without(left, held), left)
    inputs.requires_grad_()
    assert torch.autograd.gradcheck(lambda given: without(given, held), (inputs,))


def run(changes, where=None, stop=None, prompts=PROMPTS):
    """The trained model, for as long as the block lasts."""
    config, samples = trial(constraint=BLOCK, **changes), random_samples(60)
    held = NullSpace(prompts, config.constraint.directions)
    data = TrainingSet(samples, 40, None)
    return tuned(tiny_llama(), config, data, held, lambda report: report.step == stop, where)


def logits(model, prompt):
    with torch.no_grad():
        return model(input_ids=torch.tensor([prompt])).logits


def weights_of(model):
    return {name: one.detach().clone() for name, one in model.named_parameters() if one.requires_grad}


@pytest.mark.parametrize("stage", [0, 2])
def test_prompts_that_the_directions_span_are_answered_as_before_whatever_is_learnt(process, stage):
    """Seven tokens have seven directions at most, of every input of 16 and 32 numbers."""
    before = tiny_llama()
    with run({"deepspeed": {"zero_stage": stage}, "learning_rate": 5e-2}) as (trained, line):
        for prompt in PROMPTS:
            torch.testing.assert_close(logits(trained, prompt), logits(before, prompt), rtol=1e-4, atol=1e-4)
        assert (logits(trained, OTHER) - logits(before, OTHER)).abs().max() > 0.1
        with line.at(0.5) as half:
            torch.testing.assert_close(logits(half, PROMPTS[0]), logits(before, PROMPTS[0]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stage", [0, 2])
def test_several_forward_passes_are_one(process, stage):
    settings = {"deepspeed": {"zero_stage": stage}}
    with run({**settings, "micro_batch_size": 8}) as (whole, _):
        expected = weights_of(whole)
    with run({**settings, "micro_batch_size": 2}) as (shared, _):
        for name, one in weights_of(shared).items():
            torch.testing.assert_close(one, expected[name], rtol=1e-3, atol=1e-5)


def case(changes):
    """Sums of the trained weights, on any rank."""
    start_process()
    with run(changes) as (trained, _):
        return {name: float(one.double().abs().sum()) for name, one in weights_of(trained).items()}


@pytest.mark.xdist_group("ranks")
def test_two_ranks_come_to_what_one_does(process):
    changes = {"deepspeed": {"zero_stage": 2}, "micro_batch_size": 4}
    first, second = on_ranks(2, case, changes)
    assert first == second
    assert first == pytest.approx(case(changes), rel=2e-4)


@pytest.mark.parametrize("ema", [None, 0.7])
def test_it_goes_on_exactly_and_is_exported_as_plain_adapters(process, tmp_path, ema):
    changes = {"ema_decay": ema}
    with run(changes) as (whole, _):
        expected, said = weights_of(whole), logits(whole, OTHER)
    where = Checkpointing(tmp_path / "kept", every=2)
    with pytest.raises(TrialStopped), run(changes, where, stop=4):
        pass
    with run(changes, where) as (again, _):
        assert all(torch.equal(one, expected[name]) for name, one in weights_of(again).items())
    exported = trained_model_of(latest(tmp_path / "kept"), tiny_llama())
    assert all(torch.equal(one, expected[name]) for name, one in weights_of(exported).items())
    torch.testing.assert_close(logits(exported, OTHER), said)


def test_its_directions_are_those_of_the_untouched_model(process):
    adapted = attach(tiny_llama(), LoraTuning(rank=2), 0)
    held = NullSpace(PROMPTS, 3)
    with held.around(adapted):
        pass
    seen = {}
    model = tiny_llama()
    projection = model.model.layers[1].mlp.down_proj
    projection.register_forward_pre_hook(lambda _module, given: seen.setdefault(len(seen), given[0][0]))
    for prompt in PROMPTS:
        logits(model, prompt)
    expected = main_directions(torch.cat([seen[0], seen[1]]), 3)
    found = held.directions["base_model.model.model.layers.1.mlp.down_proj.lora_A.default"]
    torch.testing.assert_close(found @ found.mT, expected @ expected.mT, rtol=1e-4, atol=1e-5)
    assert len(held.directions) == 3 * 7


def test_more_directions_than_an_input_has_are_refused(process):
    adapted = attach(tiny_llama(), LoraTuning(rank=2), 0)
    with (
        pytest.raises(ModelError, match=r"constraint\.directions \(16\) leaves nothing of the 16 inputs of .*q_proj"),
        NullSpace(PROMPTS, 16).around(adapted),
    ):
        pass


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tuning": {"type": "full"}}, r"limits what adapters see, and tuning\.type \(full\) has none"),
        ({"tuning": {"type": "lora", "use_dora": True}}, r"tuning\.use_dora \(true\) scales whole weights besides"),
        ({"deepspeed": {"zero_stage": 3}}, r"constraint\.type \(null_space\) needs whole weights on every rank"),
    ],
)
def test_what_it_cannot_limit_is_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        TrialConfig.model_validate({"constraint": {"type": "null_space"}, **changes})
    with pytest.raises(ValueError, match="directions"):
        TrialConfig.model_validate({"constraint": {"type": "null_space", "directions": 0}})
