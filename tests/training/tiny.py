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
from training.distributed.deepspeed_config import sharding_config
from training.distributed.gathering import gather_for_forward
from training.distributed.ranks import from_rank_zero
from training.distributed.sharding import gathered


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


def held_as(trial: Any, model: Any) -> Any:
    """``model`` in the form that ``trial`` tunes: partitioned for ZeRO 3."""
    if trial.zero_stage == 3:
        gather_for_forward(model, sharding_config(trial))
    return model


def weights_of(model: Any) -> dict[str, torch.Tensor]:
    """Copies of all parameters by name, whole; all ranks must call it."""
    found = {}
    for name, parameter in model.named_parameters():
        with gathered(parameter) as whole:
            found[name] = whole.clone()
    return found


def sums_of(model: Any, *, trained: bool = False) -> list[float]:
    """The sum of the absolute values of every parameter, or of those that are trained."""
    needed = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    return [float(w.double().abs().sum()) for name, w in weights_of(model).items() if needed[name] or not trained]


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
