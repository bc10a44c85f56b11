"""A forward pass is progress, whatever is wrapped round the model."""

import copy

import pytest
import torch
from tiny import tiny_llama

from training.config import LoraTuning
from training.distributed import progress
from training.models.adapters import attach, detach


def passes(model: torch.nn.Module) -> int:
    """How many are counted of two."""
    before = progress.done()
    for _ in range(2):
        model(input_ids=torch.zeros(1, 3, dtype=torch.long))
    return progress.done() - before


def test_every_forward_pass_is_counted_once() -> None:
    model = tiny_llama()
    assert passes(model) == 0
    progress.follow(model)
    assert passes(model) == 2
    adapted = attach(model, LoraTuning(rank=2), seed=0)
    assert passes(adapted) == 2
    detach(adapted)
    assert passes(model) == 2
    assert passes(copy.deepcopy(model)) == 2, "under full tuning a copy is trained"


@pytest.mark.parametrize("length", [1, 8])
def test_every_token_of_an_answer_is_progress(length: int) -> None:
    model = tiny_llama()
    progress.follow(model)
    before = progress.done()
    model.generate(torch.ones(1, 2, dtype=torch.long), max_new_tokens=length, min_new_tokens=length, do_sample=False)
    assert progress.done() - before == length
