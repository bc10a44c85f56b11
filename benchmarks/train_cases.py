"""The models, the data and the settings that both sides of the training benchmark share."""

from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from training.config import DataConfig, ModelConfig, Source, TrialConfig
from training.data.chat import EncodedSample
from training.data.encoding import encode_source
from training.data.samples import Samples

Tuning = Literal["lora", "full"]


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    model: Literal["organism", "llama10m", "llama1b"]
    tuning: Tuning
    packed: bool

    @property
    def name(self) -> str:
        """The key in ``train.json``."""
        return f"{self.model}-{self.tuning}" + ("-packed" if self.packed else "")

    @property
    def size(self) -> "Size":
        """How much one measurement does."""
        return SIZES[self.model]


@dataclass(frozen=True)
class Size:
    """How much one measurement of a model does."""

    batch_size: int
    max_length: int
    steps: int
    """Timed optimizer steps of one repetition; one more warms up."""
    precision: Literal["fp32", "bf16"] = "fp32"
    rank: int = 8


SIZES = {
    "organism": Size(batch_size=32, max_length=128, steps=20),
    "llama10m": Size(batch_size=8, max_length=256, steps=4),
    "llama1b": Size(batch_size=8, max_length=2048, steps=10, precision="bf16", rank=16),
}
CPU_CASES = [
    Case(model, tuning, packed)
    for model in ("organism", "llama10m")
    for tuning in ("lora", "full")
    for packed in (False, True)
]
GPU_CASES = [Case("llama1b", "lora", packed) for packed in (False, True)]


def trial_of(case: Case, alpha: float, steps: int) -> TrialConfig:
    """The trial of a case; ``alpha`` 0 is plain fine-tuning."""
    size = case.size
    tuning = {"type": "lora", "rank": size.rank, "alpha": 16} if case.tuning == "lora" else {"type": "full"}
    return TrialConfig.model_validate(
        {
            "tuning": tuning,
            "steps": steps,
            "batch_size": size.batch_size,
            "max_length": size.max_length,
            "learning_rate": 1e-4,
            "precision": size.precision,
            "packing": case.packed,
            "log_every": 1,
            "constraint": {"type": "procon", "alpha": alpha},
            "deepspeed": {"zero_stage": 0},
        }
    )


@cache
def load(name: str) -> tuple[PreTrainedModel, Samples]:
    """A model on its device and its training samples."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "organism":
        from training.models.loading import load_model, load_tokenizer
        from training.models.located import model_path

        sets = {
            field: Source(path=f"organism/{'general' if field == 'task' else field}")
            for field in ("task", "safety", "harmful", "harmless", "borderline")
        }
        path = model_path(ModelConfig(name="organism", path="organism"), DataConfig(**sets))
        tokenizer = load_tokenizer(path)
        samples = encode_source(sets["task"], "train", field="data.task", tokenizer=tokenizer, max_length=128).samples
        return load_model(path).to(device), samples
    torch.manual_seed(0)
    if name == "llama10m":
        return _llama(8192, 256, 10, 4, 4, 688, 256).to(device), _random_samples(8192, 400, 256)
    model = _llama(128_256, 2048, 16, 32, 8, 8192, 2048)  # the shape of Llama-3.2-1B
    return model.to(device, torch.bfloat16), _random_samples(128_256, 400, 2048)


def direction_of(model: PreTrainedModel) -> SimpleNamespace:
    """A random unit direction per layer: what it points at does not change what projecting on it costs."""
    layers, width = model.config.num_hidden_layers, model.config.hidden_size
    raw = torch.randn(layers, width, generator=torch.Generator().manual_seed(1))
    unit = raw / raw.norm(dim=-1, keepdim=True)
    return SimpleNamespace(unit=unit, separation=torch.ones(layers), site="block_output", fingerprint="random")


def _llama(
    vocabulary: int, hidden: int, layers: int, heads: int, key_value_heads: int, feed_forward: int, positions: int
) -> Any:
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        intermediate_size=feed_forward,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def _random_samples(vocabulary: int, count: int, max_length: int) -> Samples:
    """Random tokens with the spread of lengths of instruction data: most are short, a few fill the length."""
    draw = np.random.default_rng(0)
    encoded = []
    for _ in range(count):
        length = int(np.clip(draw.lognormal(np.log(max_length / 3), 0.6), 16, max_length))
        start = max(2, int(length * draw.uniform(0.3, 0.6)))
        encoded.append(EncodedSample(draw.integers(3, vocabulary, length).tolist(), start))
    return Samples.from_encoded(encoded, 0)
