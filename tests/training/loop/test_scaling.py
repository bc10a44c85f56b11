"""Between the untouched and the trained model: the ends are those models, and what is exported is what was there."""

import pytest
import torch
from ranks import on_ranks
from tiny import tiny_llama
from trajectories import trial, tuned_tiny

from training.errors import ModelError
from training.loop.checkpointing import Checkpointing, latest
from training.loop.export import export, form_of, trained_model_of
from training.loop.scaling import Line
from training.models.adapters import attach

pytestmark = pytest.mark.usefixtures("process")

LORA = {"tuning": {"type": "lora", "rank": 4}}
FULL = {"tuning": {"type": "full"}, "learning_rate": 1e-3}
IDS = torch.arange(3, 43).view(2, 20)


@torch.no_grad()
def logits(model):
    return model(input_ids=IDS).logits


def trained(changes, stage, checkpoints=None):
    where = None if checkpoints is None else Checkpointing(checkpoints, every=3)
    return tuned_tiny({**changes, "deepspeed": {"zero_stage": stage}}, where)


@pytest.mark.parametrize("changes", [LORA, FULL], ids=["lora", "full"])
@pytest.mark.parametrize("stage", [0, 2, 3])
def test_the_ends_are_the_untouched_and_the_trained_model(changes, stage):
    with trained(changes, stage) as (model, line):
        own = logits(model)
        with line.at(0.5) as half:
            between = logits(half)
        assert torch.equal(logits(model), own)
        with line.at(0.0) as start:
            assert torch.equal(logits(start), logits(tiny_llama()))
        with line.at(1.0) as end:
            assert torch.equal(logits(end), own)
        with line.at(1.25):
            assert not torch.allclose(logits(model), own, atol=1e-3)
        assert torch.equal(logits(model), own)
    assert not torch.allclose(between, own, atol=1e-3)
    assert not torch.allclose(between, logits(tiny_llama()), atol=1e-3)


@pytest.mark.parametrize("changes", [LORA, FULL], ids=["lora", "full"])
def test_the_weights_lie_on_the_straight_line(changes):
    with trained(changes, 0) as (model, line):
        merged = model.merge_adapter if changes is LORA else lambda: None

        def weight_at(scale):
            with line.at(scale) as there:
                merged()
                weights = dict(there.named_parameters())
                found = next(one for name, one in weights.items() if "layers.1.mlp.up_proj" in name).detach().clone()
                if changes is LORA:
                    model.unmerge_adapter()
            return found

        start, end = weight_at(0.0), weight_at(1.0)
        assert not torch.allclose(start, end)
        for scale in (0.25, 0.75, 1.5):
            torch.testing.assert_close(weight_at(scale), start + scale * (end - start), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("changes", "stage"), [(LORA, 0), (LORA, 3), (FULL, 2), (FULL, 3)])
def test_what_is_exported_is_what_was_there_bit_for_bit(tmp_path, chat_tokenizer, changes, stage):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    with trained(changes, stage, tmp_path / "kept") as (model, line), line.at(0.3) as there:
        expected = logits(there)
        export(there, chat_tokenizer, tmp_path / "out", form=form_of(there))
    if changes is LORA:
        loaded = PeftModel.from_pretrained(tiny_llama(), tmp_path / "out").eval()
    else:
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert torch.equal(logits(loaded), expected)
    later = trained_model_of(latest(tmp_path / "kept"), tiny_llama(), 0.3)
    assert torch.equal(logits(later.eval()), expected)
    assert not model.training


def test_a_measurement_that_fails_leaves_the_trained_model():
    with trained(LORA, 0) as (model, line):
        own = logits(model)
        with pytest.raises(RuntimeError, match="measuring failed"), line.at(0.5):
            raise RuntimeError("measuring failed")
        assert torch.equal(logits(model), own)


def test_magnitudes_of_their_own_are_refused():
    adapted = attach(tiny_llama(), trial(tuning={"type": "lora", "rank": 2, "use_dora": True}).tuning, 0)
    with pytest.raises(ModelError, match=r"cannot be scaled: turn tuning\.use_dora off"), Line(adapted).at(0.5):
        pass


def ends_of(changes):
    """Whether the ends of the line are the models that they should be, and logits between them."""
    with trained(changes, 3) as (model, line):
        own = logits(model)
        with line.at(0.0):
            at_start = logits(model)
        with line.at(0.5):
            between = logits(model)
        back = torch.equal(logits(model), own)
    return back, torch.equal(at_start, logits(tiny_llama())), between.double().abs().sum().item()


@pytest.mark.xdist_group("ranks")
@pytest.mark.slow
@pytest.mark.parametrize("changes", [LORA, FULL], ids=["lora", "full"])
def test_in_shards_of_two_ranks(process, changes):
    alone = ends_of(changes)
    for back, starts, between in on_ranks(2, ends_of, changes):
        assert back
        assert starts
        assert between == pytest.approx(alone[2], rel=1e-3)
