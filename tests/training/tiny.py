"""Tiny models and hand-made samples."""

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from training.constraints.references.projections import References, compute
from training.data.chat import EncodedSample
from training.data.samples import Samples
from training.distributed.ranks import from_rank_zero


def tiny_llama(seed: int = 0, **changes: Any) -> Any:
    settings = {
        "vocab_size": 300,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "initializer_range": 0.3,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(**{**settings, **changes})).eval()


def random_samples(count: int = 40, seed: int = 0) -> Any:
    draw = random.Random(seed)
    encoded = []
    for _ in range(count):
        start = draw.randint(3, 9)
        length = start + draw.randint(1, 8)
        encoded.append(EncodedSample([draw.randrange(3, 300) for _ in range(length)], start))
    return Samples.from_encoded(encoded, 0)


def random_direction(layers: int = 3, width: int = 16, seed: int = 1) -> SimpleNamespace:
    raw = torch.randn(layers, width, generator=torch.Generator().manual_seed(seed))
    unit = raw / raw.norm(dim=-1, keepdim=True)
    return SimpleNamespace(unit=unit, separation=torch.arange(1.0, layers + 1), site="block_output")


def references_of(model: Any, samples: Any, direction: Any) -> Any:
    starts = np.concatenate([[0], np.cumsum(samples.response_lengths)])
    table = compute(model, samples, direction.unit, direction.site)  # by all ranks, and whole on rank 0 alone
    return References(from_rank_zero(lambda: table), starts)
