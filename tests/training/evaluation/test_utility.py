import math
from statistics import stdev

import pytest
import torch
from torch.nn import functional

from training.data.chat import EncodedSample, encode_prompts, encode_samples
from training.evaluation.held_out import HeldOut, held_out
from training.models.generation import generate_tokens


@torch.no_grad()
def test_held_out_loss_is_the_mean_over_response_tokens(model, tokenizer, prompts):
    responses = ["Sure.", "I cannot help with that request.", "First, get a very large old lamp."] * 3
    samples = encode_samples(tokenizer, prompts[: len(responses)], responses, max_length=128)
    losses = []
    for sample in samples:
        ids = torch.tensor([sample.input_ids])
        logits = model(input_ids=ids).logits[0, sample.response_start - 1 : -1]
        losses.append(functional.cross_entropy(logits, ids[0, sample.response_start :], reduction="none"))
    expected = float(torch.cat(losses).mean())
    few, many = (held_out(model, samples, batch_size=size) for size in (4, 64))
    assert few.loss == pytest.approx(expected, rel=1e-5)
    assert many.loss == pytest.approx(expected, rel=1e-5)
    assert few.losses == pytest.approx([float(each.double().sum()) for each in losses], rel=1e-5)
    assert few.tokens == [len(each) for each in losses]
    assert few.of([2, 0]).losses == [few.losses[2], few.losses[0]]


def test_error_of_a_ratio_of_means():
    # Equal sizes make the ratio a plain mean, whose standard error is known.
    held = HeldOut([2.0, 4.0, 9.0], [4, 4, 4], [True, False, False])
    assert held.loss == pytest.approx(15 / 12)
    assert held.error == pytest.approx(stdev([0.5, 1.0, 2.25]) / 3**0.5)
    assert held.of([1]).error == math.inf


@torch.no_grad()
def test_a_sample_matches_where_greedy_decoding_says_the_response(model, tokenizer, prompts):
    ids = encode_prompts(tokenizer, prompts[:4])
    said = generate_tokens(model, ids, end_ids=frozenset(), max_new_tokens=5, batch_size=4)
    samples = [EncodedSample([*prompt, *answer], len(prompt)) for prompt, answer in zip(ids, said, strict=True)]
    samples[1].input_ids[-1] = (samples[1].input_ids[-1] + 1) % len(tokenizer)
    assert held_out(model, samples).matched == [True, False, True, True]
