"""Models and samples of the GPU benchmark: random weights made on the device, in the shapes of published models."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from sweeps.cost.shape import Shape
from training.constraints.references.projections import References
from training.data.chat import EncodedSample
from training.data.samples import Samples

SHAPES: dict[str, dict[str, Any]] = {
    "1b": {  # Llama-3.2-1B
        "vocab_size": 128256,
        "hidden_size": 2048,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 8192,
        "tie_word_embeddings": True,
    },
    "8b": {  # Llama-3-8B
        "vocab_size": 128256,
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "tie_word_embeddings": False,
    },
    "tiny": {
        "vocab_size": 512,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 128,
        "tie_word_embeddings": True,
    },
}


def config_of(name: str, layers: int | None = None) -> LlamaConfig:
    """The configuration of a shape, with another number of layers where one is given."""
    changes = {} if layers is None else {"num_hidden_layers": layers}
    return LlamaConfig(**{**SHAPES[name], **changes}, max_position_embeddings=8192, pad_token_id=0)


def shape_of(config: LlamaConfig) -> Shape:
    """What the plan counts with."""
    shape = Shape.of_config(config.to_dict())
    assert shape is not None
    return shape


def model_on(
    device: torch.device, config: LlamaConfig, attention: str | None = None, dtype: torch.dtype = torch.bfloat16
) -> PreTrainedModel:
    """Random weights, made on ``device``."""
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
    return model.to(device).eval()  # type: ignore[no-any-return]  # buffers that were made elsewhere


def samples_of(vocabulary: int, length: int, count: int = 64, *, spread: bool = False) -> Samples:
    """Random tokens; each sample is as long as allowed, or they have the lengths of instruction data."""
    draw = np.random.default_rng(0)
    encoded = []
    for _ in range(count):
        tokens = length
        if spread:
            tokens = int(np.clip(draw.lognormal(np.log(length / 3), 0.6), 8, length))
        encoded.append(EncodedSample(draw.integers(3, vocabulary, tokens).tolist(), max(2, tokens // 4)))
    return Samples.from_encoded(encoded, 0)


def references_of(samples: Samples, layers: int) -> References:
    """Projections of zero, which cost the training what any others do."""
    starts = np.concatenate([[0], np.cumsum(samples.response_lengths)])
    return References(np.zeros((int(starts[-1]), layers), np.float32), starts)


def direction_of(config: LlamaConfig) -> SimpleNamespace:
    """A random unit direction per layer."""
    raw = torch.randn(config.num_hidden_layers, config.hidden_size, generator=torch.Generator().manual_seed(1))
    unit = raw / raw.norm(dim=-1, keepdim=True)
    return SimpleNamespace(unit=unit, separation=torch.ones(len(unit)), site="block_output", fingerprint="random")
