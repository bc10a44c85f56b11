"""Logits in chunks: what is kept of them is what the model's own logits give, gradients included."""

import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny import random_samples

from training.evaluation.held_out import held_out
from training.loop.loss import ConstrainedLoss
from training.models import logits
from training.models.head import scaling_of
from training.models.loading import base_model

sys.path.append(str(Path(__file__).parents[1] / "conformance"))
from architectures import ARCHITECTURES, BY_NAME

SAMPLES = random_samples(12)
BATCH = SAMPLES.collate(range(12))
SCALED = {"Gemma 2": "_soft_capped", "Granite 3": "_scaled", "Command R7B": "_scaled"}


def in_chunks(patch):
    """Seven positions at a time, of a vocabulary of 300."""
    patch.setattr(logits, "LOGIT_BYTES", 7 * 4 * 300)


def lora_on_the_head(model):
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "lm_head"]))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return adapted


def loss_and_gradients(model):
    model.zero_grad()
    loss, _ = ConstrainedLoss(model, None)(BATCH, None, False)
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def relative(found, expected):
    return float((found - expected).norm() / expected.norm().clamp(min=1e-12))


@pytest.mark.parametrize(
    "architecture",
    [one for one in ARCHITECTURES if one.name in {"Llama 2, 3", "Qwen3.5", *SCALED}],
    ids=lambda a: a.name,
)
@pytest.mark.parametrize("change", [None, lora_on_the_head, "tied"])
def test_the_loss_in_chunks_is_the_plain_one(architecture, change, monkeypatch):
    model = architecture.model()
    if change == "tied":
        model.get_output_embeddings().weight = model.get_input_embeddings().weight
    elif change is not None:
        model = change(model)
    plain, expected = loss_and_gradients(model)
    head = base_model(model).get_output_embeddings()
    weight, linear, rows = getattr(head, "base_layer", head).weight, torch.nn.functional.linear, set()

    def watched(values, matrix, bias=None):
        if matrix is weight:
            rows.add(len(values))
        return linear(values, matrix, bias)

    with monkeypatch.context() as patch:
        in_chunks(patch)
        patch.setattr(torch.nn.functional, "linear", watched)
        found, gradients = loss_and_gradients(model)
    assert max(rows) == 7, "the head must be called in chunks for this to mean anything"
    assert relative(found, plain) < 1e-6
    assert gradients.keys() == expected.keys()
    assert all(relative(gradients[name], expected[name]) < 2e-6 for name in expected)
    assert "forward" not in vars(head)


@pytest.mark.parametrize("name", sorted(SCALED))
def test_what_stands_behind_the_head_is_found(name):
    assert scaling_of(BY_NAME[name].model()).func.__name__ == SCALED[name]


def test_a_head_with_something_unknown_behind_it_is_not_cut_up(monkeypatch):
    model = BY_NAME["Llama 2, 3"].model()
    own = type(model).forward

    def squared(self, *args, **options):
        output = own(self, *args, **options)
        output.logits = output.logits.square()
        return output

    monkeypatch.setattr(type(model), "forward", squared)
    assert scaling_of(model) is None
    plain, _ = loss_and_gradients(model)
    in_chunks(monkeypatch)
    found, _ = loss_and_gradients(model)
    assert found == plain


def test_held_out_samples_are_scored_in_chunks(monkeypatch):
    from training.data.chat import EncodedSample

    model = BY_NAME["Gemma 2"].model()
    bounds = zip(SAMPLES.offsets, SAMPLES.offsets[1:], SAMPLES.response_starts, strict=False)
    samples = [EncodedSample(SAMPLES.tokens[a:b].tolist(), int(start)) for a, b, start in bounds]
    plain = held_out(model, samples, batch_size=5)
    in_chunks(monkeypatch)
    chunked = held_out(model, samples, batch_size=5)
    assert chunked.losses == pytest.approx(plain.losses, rel=1e-6)
    assert (chunked.tokens, chunked.matched) == (plain.tokens, plain.matched)
