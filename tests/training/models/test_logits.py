"""Logits in chunks: what is kept of them is what the model's own logits give, gradients included."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from oracle import moved
from peft import LoraConfig, get_peft_model
from tiny import random_direction, random_samples, tiny_llama
from torch.utils._python_dispatch import TorchDispatchMode

from training.config import ConstrainedSftConstraint, KlReferenceConstraint
from training.constraints import build_constraint
from training.constraints.references.log_probabilities import LogProbabilityReferences, compute
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


class MostLogits(TorchDispatchMode):
    """Counts the most positions whose logits, or anything else of their size, were in one tensor."""

    def __init__(self, hidden):
        super().__init__()
        self.most, self.weight = 0, (hidden, 300)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for one in found if isinstance(found, tuple | list) else [found]:
            if isinstance(one, torch.Tensor) and one.shape[-1:] == (300,) and one.shape != self.weight:
                self.most = max(self.most, one.numel() // 300)
        return found


@pytest.mark.parametrize("config", [KlReferenceConstraint(), ConstrainedSftConstraint()], ids=lambda one: one.type)
def test_penalties_and_references_in_chunks_are_the_plain_ones(config, monkeypatch):
    initial, model = tiny_llama(), moved(tiny_llama())
    constraint = build_constraint(config, random_direction(), torch.device("cpu"))
    packed = SAMPLES.collate(range(12), row_length=int(SAMPLES.lengths.max()) + 8)

    def found():
        model.zero_grad()
        table = compute(initial, SAMPLES, constraint.wants.kind)
        references = LogProbabilityReferences(table).of(np.arange(12), [])
        terms = torch.stack(ConstrainedLoss(model, constraint)(packed, references, True))
        (terms * torch.tensor([1.0, 0.5])).sum().backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        return table, terms.detach(), gradients

    with MostLogits(model.config.hidden_size) as plain:
        table, terms, gradients = found()
    assert plain.most == len(packed.targets)
    assert terms[1] > 0
    in_chunks(monkeypatch)
    with MostLogits(model.config.hidden_size) as chunks:
        chunked = found()
    assert chunks.most == 7
    assert chunked[0].columns.keys() == table.columns.keys()
    for name, values in table.columns.items():
        np.testing.assert_allclose(chunked[0].columns[name], values, rtol=1e-6, atol=1e-6)
    assert relative(chunked[1], terms) < 1e-6
    assert all(relative(chunked[2][name], gradients[name]) < 2e-6 for name in gradients)


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
