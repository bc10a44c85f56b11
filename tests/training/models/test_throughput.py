"""Floating-point operations of a token, counted by hand."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from training.models.throughput import flops_per_token, peak_flops

DEPTH, WIDTH, VOCABULARY, FEED_FORWARD = 2, 8, 11, 12
LAYER = 4 * WIDTH * WIDTH + 3 * WIDTH * FEED_FORWARD + 2 * WIDTH
"""Attention, feed-forward, two norms."""


def model(tied: bool) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            intermediate_size=FEED_FORWARD,
            num_hidden_layers=DEPTH,
            num_attention_heads=2,
            tie_word_embeddings=tied,
        )
    )


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("full", "factor"), [(True, 6), (False, 4)])
def test_the_table_of_embeddings_counts_once_as_the_head_it_is(tied: bool, full: bool, factor: int) -> None:
    weights = DEPTH * LAYER + WIDTH + VOCABULARY * WIDTH
    attention = 6 * 2 * DEPTH * WIDTH * 20
    assert flops_per_token(model(tied), 20, full=full) == factor * weights + attention


def test_a_processor_has_no_peak_in_the_table() -> None:
    assert peak_flops(torch.device("cpu"), "bf16") is None


@pytest.mark.parametrize(
    ("name", "precision", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989e12),
        ("NVIDIA H100 PCIe", "bf16", 756e12),
        ("NVIDIA L40S", "bf16", 362e12),
        ("NVIDIA L4", "bf16", 121e12),
        ("NVIDIA H100 80GB HBM3", "fp32", None),
        ("Another", "bf16", None),
    ],
)
def test_the_first_part_of_a_name_that_fits_decides(
    name: str, precision: str, peak: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: name)
    assert peak_flops(torch.device("cuda"), precision) == peak
