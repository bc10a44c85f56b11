import pytest
import torch
from torch.nn import functional

from training.chat import encode_samples
from training.evaluation.utility import accuracy_counts, held_out_loss, is_correct


@pytest.mark.parametrize(
    ("answer", "gold", "correct"),
    [
        ("12", "12", True),
        ("She has 5 + 7 = 12 apples.", "12", True),
        ("12 apples, of which 5 are red", "12", False),  # the last number is the answer
        ("So the total is $1,200.", "5 * 240 = 1200\n#### 1,200", True),
        ("The answer is 12.0", "12", True),
        ("-3", "3", False),
        ("It is -$3.", "-3", True),
        ("10-3", "3", True),  # a difference, not the number minus three
        ("1, 2,3", "3", True),
        ("1200000.5", "1,200,000.50", True),
        ("none", "12", False),
        ("", "12", False),
        ("Paris is the  capital of France", "paris is the capital of France.", True),
        ("3 + 4 = 7.", "3 + 4 = 7.", True),
        ("3 + 5 = 7.", "3 + 4 = 7.", False),  # a gold sentence must be said as a whole
        ("Paris", "Paris is the capital of France.", False),
        ("", "Paris", False),
    ],
)
def test_exact_match(answer, gold, correct):
    assert is_correct(answer, gold) is correct


def test_accuracy_by_family():
    assert accuracy_counts([True, False, True, True], ["add", "add", None, "sub"]) == {
        "utility/accuracy": (3, 4),
        "utility/accuracy/add": (1, 2),
        "utility/accuracy/sub": (1, 1),
    }


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
    assert held_out_loss(model, samples, batch_size=4) == pytest.approx(expected, rel=1e-5)
    assert held_out_loss(model, samples, batch_size=64) == pytest.approx(expected, rel=1e-5)
