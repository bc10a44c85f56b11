"""Constraints on the logits, and the reference log-probabilities that they compare with."""

import math

import numpy as np
import pytest
import torch
from oracle import moved, sample_ids
from tiny import random_direction, random_samples, tiny_llama

from training.config import ConstrainedSftConstraint, KlReferenceConstraint
from training.constraints import build_constraint
from training.constraints.constrained_sft import ConstrainedSft, log_cosh_penalty, places_in_response
from training.constraints.kl_reference import coarse_divergence
from training.constraints.log_probabilities import LogProbabilities, rest_log_probability
from training.constraints.references import log_probabilities as logprob_references
from training.constraints.references.log_probabilities import LogProbabilityKey, compute, load_or_build
from training.loop.loss import ConstrainedLoss

CPU = torch.device("cpu")
INDICES = [3, 7, 11, 20]


def naive_log_probabilities(model, samples, index):
    """``[response tokens, vocabulary]`` of one sample."""
    start = int(samples.response_starts[index])
    return model(input_ids=sample_ids(samples, index)).logits[0, start - 1 : -1].double().log_softmax(-1)


def penalty(config, initial, current, samples, row_length):
    constraint = build_constraint(config, random_direction(), CPU)
    table = compute(initial, samples, constraint.wants.kind)
    kept = logprob_references.LogProbabilityReferences(table).of(np.array(INDICES), [])
    _, total = ConstrainedLoss(current, constraint)(samples.collate(INDICES, row_length), kept, True)
    return total.item() / constraint.counted(samples)[INDICES].sum()


# --- kl_reference -----------------------------------------------------------------------------------------------------


def test_coarse_divergence_in_closed_form():
    before, after = torch.tensor([0.5, 0.3, 0.1, 0.1]), torch.tensor([0.25, 0.25, 0.3, 0.2])
    kept = LogProbabilities(
        top=before[None, :2].log(), top_tokens=torch.tensor([[0, 1]]), rest=before[2:].sum().log()[None]
    )
    expected = 0.5 * math.log(2) + 0.3 * math.log(0.3 / 0.25) + 0.2 * math.log(0.2 / 0.5)
    assert coarse_divergence(after.log()[None] + 3, kept).item() == pytest.approx(expected, rel=1e-6)
    full = (before * (before / after).log()).sum().item()
    assert expected < full


def test_divergence_over_the_whole_vocabulary_is_exact_and_has_no_rest():
    logits, other = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    top, tokens = logits.log_softmax(-1).topk(5)
    kept = LogProbabilities(top=top, top_tokens=tokens, rest=torch.full((3,), -torch.inf))
    expected = torch.nn.functional.kl_div(
        other.log_softmax(-1), logits.log_softmax(-1), log_target=True, reduction="sum"
    )
    assert coarse_divergence(other, kept).sum().item() == pytest.approx(expected.item())


def test_gradient_of_the_divergence_agrees_with_finite_differences_and_vanishes_at_the_start():
    generator = torch.Generator().manual_seed(0)
    before, after = torch.randn(2, 3, 8, generator=generator, dtype=torch.float64)
    top, tokens = before.log_softmax(-1).topk(3)
    kept = LogProbabilities(top=top, top_tokens=tokens, rest=rest_log_probability(before, tokens))
    assert torch.autograd.gradcheck(lambda logits: coarse_divergence(logits, kept), (after.requires_grad_(),))
    start = before.clone().requires_grad_()
    coarse_divergence(start, kept).sum().backward()
    assert start.grad.abs().max() < 1e-12


def test_the_rest_keeps_its_digits_where_the_likeliest_take_almost_everything():
    logits = torch.tensor([[60.0, 0.0, 0.0]])
    assert rest_log_probability(logits, torch.tensor([[0]])).item() == pytest.approx(math.log(2) - 60, rel=1e-6)


@pytest.mark.parametrize("row_length", [None, 24], ids=["padded", "packed"])
def test_kl_reference_agrees_with_a_naive_pass_of_two_models(row_length):
    initial, current, samples = tiny_llama(), moved(tiny_llama()), random_samples()
    found = penalty(KlReferenceConstraint(), initial, current, samples, row_length)
    values = []
    for index in INDICES:
        before, after = (naive_log_probabilities(model, samples, index) for model in (initial, current))
        top, tokens = before.topk(64)
        divergence = (top.exp() * (top - after.gather(-1, tokens))).sum(-1)
        rest_before, rest_after = 1 - top.exp().sum(-1), 1 - after.gather(-1, tokens).exp().sum(-1)
        values.append(divergence + rest_before * (rest_before / rest_after).log())
    assert found == pytest.approx(torch.cat(values).mean().item(), rel=1e-4)


# --- constrained_sft --------------------------------------------------------------------------------------------------


def test_penalty_and_cross_entropy_make_the_objective_of_the_paper():
    now, before = torch.tensor([-1.0, -0.2, -6.0]).double(), torch.tensor([-2.0, -0.2, -1.0]).double()
    beta = torch.tensor([0.5, 2.0, 0.1]).double()
    paper = -2 / beta * torch.nn.functional.logsigmoid(beta * (now - before))
    # -log p plus the penalty is the paper's, up to what does not depend on the weights.
    constant = 2 / beta * math.log(2) + before
    found = -now + log_cosh_penalty(now - before, beta) + constant
    torch.testing.assert_close(found, paper)


def test_gradient_of_the_penalty_is_a_hyperbolic_tangent():
    difference = torch.tensor([-300.0, -1.0, 0.0, 2.0, 300.0], dtype=torch.float64, requires_grad=True)
    beta = torch.full((5,), 2.0, dtype=torch.float64)
    value = log_cosh_penalty(difference, beta)
    value.sum().backward()
    assert value[2].item() == pytest.approx(0, abs=1e-15)
    assert torch.isfinite(value).all()
    torch.testing.assert_close(difference.grad, torch.tanh(difference.detach()))
    varied = torch.tensor([-1.0, 0.3, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: log_cosh_penalty(d, beta[:3]), (varied,))


def test_beta_by_place_in_the_response():
    places = places_in_response(torch.tensor([0, 0, 0, 1, 1, 1, 1, 1, 1, 1]))
    assert places.tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5, 6]
    betas = ConstrainedSft(0.5, 2.0, 0.1, 5).betas(places)
    assert betas.tolist() == pytest.approx([0.5, 2, 2, 0.5, 2, 2, 2, 2, 0.1, 0.1])


@pytest.mark.parametrize("row_length", [None, 24], ids=["padded", "packed"])
@pytest.mark.parametrize(
    ("settings", "strengths"),
    [
        ({}, [0.5] + [2.0] * 4 + [0.1] * 20),
        ({"beta_first": 1.0, "beta_prefix": 3.0, "beta_rest": 0.2, "prefix_tokens": 3}, [1.0, 3.0, 3.0] + [0.2] * 20),
    ],
    ids=["paper", "others"],
)
def test_constrained_sft_agrees_with_a_naive_pass_of_two_models(row_length, settings, strengths):
    initial, current, samples = tiny_llama(), moved(tiny_llama()), random_samples()
    found = penalty(ConstrainedSftConstraint(**settings), initial, current, samples, row_length)
    values = []
    for index in INDICES:
        targets = sample_ids(samples, index)[0, int(samples.response_starts[index]) :, None]
        after, before = (
            naive_log_probabilities(model, samples, index).gather(-1, targets)[:, 0] for model in (current, initial)
        )
        beta = torch.tensor(strengths[: len(targets)], dtype=torch.float64)
        paper = -2 / beta * torch.nn.functional.logsigmoid(beta * (after - before))
        values.append(paper + after - 2 / beta * math.log(2) - before)
    assert found == pytest.approx(torch.cat(values).mean().item(), rel=1e-4)


# --- references -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["target", "top"])
def test_kept_log_probabilities_are_the_models_own(tmp_path, kind):
    model, samples = tiny_llama(), random_samples()
    kept = load_or_build(tmp_path, LogProbabilityKey("model", "samples", kind), model, samples)
    found = kept.of(np.array([7, 2]), [])
    expected = torch.cat([naive_log_probabilities(model, samples, index) for index in (7, 2)])
    if kind == "target":
        targets = torch.cat([sample_ids(samples, i)[0, int(samples.response_starts[i]) :] for i in (7, 2)])
        torch.testing.assert_close(
            found.target.double(), expected.gather(-1, targets[:, None])[:, 0], atol=1e-5, rtol=0
        )
        assert found.top is None
        return
    top, tokens = expected.topk(64)
    torch.testing.assert_close(found.top.double(), top, atol=1e-5, rtol=0)
    assert torch.equal(found.top_tokens[:, :8], tokens[:, :8])
    rest = (1 - top.exp().sum(-1)).log()
    torch.testing.assert_close(found.rest.double(), rest, atol=1e-4, rtol=0)
    assert found.top.dtype == torch.float32


def test_log_probabilities_are_built_once_named_by_content_and_halved_in_half_precision(tmp_path, monkeypatch):
    model, samples, sizes = tiny_llama(), random_samples(), {}
    for precision in ("fp32", "fp16"):
        key = LogProbabilityKey("model", "samples", "target", precision)
        load_or_build(tmp_path, key, model, samples)
        sizes[precision] = (tmp_path / key.name).stat().st_size
    assert sizes["fp16"] < sizes["fp32"]
    assert LogProbabilityKey("model", "samples", "top").name not in {path.name for path in tmp_path.iterdir()}
    monkeypatch.setattr(logprob_references, "compute", lambda *_: pytest.fail("computed again"))
    load_or_build(tmp_path, LogProbabilityKey("model", "samples", "target"), model, samples)
