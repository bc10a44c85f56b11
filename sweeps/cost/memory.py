"""How much memory one worker needs, estimated from shapes before anything is loaded (pure).

The terms, with P weights of the base model, T trained ones (P under full tuning, else the adapters'), n workers, b
bytes per number in the trial's precision (4 or 2):

* weights: b P for the base model, which stays loaded; under full tuning as much again for the copy that is trained
  (``training.loop.tuning`` starts from a whole copy even under ZeRO 3), else b T. QLoRA has linear layers at 4.13 bits.
* gradients: g T, shared among the n workers from ZeRO 2 on. g is 4, since they are added up in float32; in bf16 2 where
  ``deepspeed.overrides.data_types.grad_accum_dtype`` says bf16, else 6 at ZeRO 1, which keeps bf16 ones beside them.
* optimizer: AdamW's two moments in float32, 8 T, and a float32 master copy, 4 T, which DeepSpeed keeps except in
  float32 without ZeRO; shared among the workers from ZeRO 1 on; on the host where ``offload_optimizer`` says cpu.
* activations of one forward pass of micro-batch x max_length tokens: per token and layer what autograd keeps of a
  gated decoder block with SDPA attention (no score matrix; compare arXiv 2205.05198, section 4), plus the logits of the
  response tokens, of which there are at most as many as tokens, in b bytes and twice in float32. With gradient
  checkpointing only the block inputs, and one block in full.

CUDA's own context (about 0.5 GiB), caches and fragmentation come on top.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from training.config import AdapterTuning, QLoraTuning, TrialConfig

BYTES = {"fp32": 4, "bf16": 2}
QLORA_BYTES = 4.127 / 8
"""A 4-bit weight with its share of the doubly quantised constants (arXiv 2305.14314, section 3)."""
TIED_BY_DEFAULT = ("gemma",)
BIASED = ("qwen2",)
"""Architectures whose query, key and value projections always have biases."""
NORMED_HEADS = ("qwen3",)
"""Architectures that normalise queries and keys per head."""
KNOWN = ("llama", "mistral", "qwen2", "qwen3", "gemma")
"""``model_type`` of the architectures whose weights are counted exactly."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a dense decoder with gated feed-forward blocks."""

    model_type: str
    layers: int
    hidden: int
    queries: int
    """Width of all query heads together."""
    keys: int
    """Width of all key heads together, which is that of the value heads."""
    head: int
    """Width of one head."""
    feed_forward: int
    vocabulary: int
    tied: bool
    """Whether the output head is the embedding."""
    attention_bias: bool = False

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> Self | None:
        """The shape that a ``config.json`` of transformers describes; None where its architecture is not counted."""
        text = config.get("text_config", config)
        kind = text.get("model_type", "")
        if kind not in KNOWN:
            return None
        heads = int(text["num_attention_heads"])
        head = int(text.get("head_dim") or text["hidden_size"] // heads)
        return cls(
            model_type=kind,
            layers=int(text["num_hidden_layers"]),
            hidden=int(text["hidden_size"]),
            queries=heads * head,
            keys=int(text.get("num_key_value_heads") or heads) * head,
            head=head,
            feed_forward=int(text["intermediate_size"]),
            vocabulary=int(text["vocab_size"]),
            tied=bool(text.get("tie_word_embeddings", kind in TIED_BY_DEFAULT)),
            attention_bias=bool(text.get("attention_bias", False)),
        )

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of the linear layers of one block, by name."""
        return {
            "q_proj": (self.hidden, self.queries),
            "k_proj": (self.hidden, self.keys),
            "v_proj": (self.hidden, self.keys),
            "o_proj": (self.queries, self.hidden),
            "gate_proj": (self.hidden, self.feed_forward),
            "up_proj": (self.hidden, self.feed_forward),
            "down_proj": (self.feed_forward, self.hidden),
        }

    @property
    def linear_parameters(self) -> int:
        """Weights of the linear layers of all blocks, biases left out."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linear.values())

    @property
    def parameters(self) -> int:
        """All weights of the model."""
        biases = 0
        if self.model_type in BIASED:
            biases = self.queries + 2 * self.keys
        elif self.attention_bias:
            biases = self.queries + 2 * self.keys + self.hidden
        norms = 2 * self.hidden + (2 * self.head if self.model_type in NORMED_HEADS else 0)
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return embeddings + self.linear_parameters + self.layers * (norms + biases) + self.hidden

    def adapter_parameters(self, tuning: AdapterTuning) -> int:
        """Weights of the adapters: r x (inputs + outputs) for every linear layer that has one."""
        targets = self.linear if tuning.targets == "all-linear" else tuning.targets
        sizes = [self.linear[name] for name in self.linear if name in targets]
        return self.layers * tuning.rank * sum(inputs + outputs for inputs, outputs in sizes)


@dataclass(frozen=True)
class Memory:
    """Bytes that one worker needs."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    host: float = 0.0
    """Optimizer states that were moved to the host."""

    @property
    def total(self) -> float:
        """Bytes on the device that trains."""
        return self.weights + self.gradients + self.optimizer + self.activations


def worker_memory(shape: Shape, trial: TrialConfig, workers: int) -> Memory:
    """The estimate that this module's docstring describes.

    Args:
        shape: of the base model.
        trial: how it is tuned.
        workers: ranks of the trial.
    """
    width, stage = BYTES[trial.precision], trial.zero_stage
    tuning = trial.tuning
    trained = shape.adapter_parameters(tuning) if isinstance(tuning, AdapterTuning) else shape.parameters
    states = trained * (8 if stage == 0 else 12) / (workers if stage >= 1 else 1)
    offloaded = _offloads_optimizer(trial)
    return Memory(
        weights=_base_bytes(shape, trial) + trained * width,
        gradients=trained * _gradient_bytes(trial) / (workers if stage >= 2 else 1),
        optimizer=0.0 if offloaded else states,
        activations=_activation_bytes(shape, trial, workers),
        host=states if offloaded else 0.0,
    )


def _gradient_bytes(trial: TrialConfig) -> int:
    if trial.precision == "fp32":
        return 4
    chosen = trial.deepspeed.overrides.get("data_types", {}).get("grad_accum_dtype")
    if chosen in ("bf16", "bfloat16"):
        return 2
    return 6 if trial.zero_stage == 1 and not _offloads_optimizer(trial) else 4


def _base_bytes(shape: Shape, trial: TrialConfig) -> float:
    width = BYTES[trial.precision]
    if isinstance(trial.tuning, QLoraTuning):
        return shape.linear_parameters * QLORA_BYTES + (shape.parameters - shape.linear_parameters) * width
    return shape.parameters * width


def _offloads_optimizer(trial: TrialConfig) -> bool:
    offload = trial.deepspeed.overrides.get("zero_optimization", {}).get("offload_optimizer") or {}
    return offload.get("device") in ("cpu", "nvme")


def _activation_bytes(shape: Shape, trial: TrialConfig, workers: int) -> float:
    width = BYTES[trial.precision]
    tokens = (trial.micro_batch_size or max(1, trial.batch_size // workers)) * trial.max_length
    # Kept of one block: its input and the sum after attention, both norms' outputs and the two sublayers' outputs (6
    # hidden); queries, keys, values and what attention gives (2 q + 2 k); gate, its activation, up, their product
    # (4 ff); and both norms' float32 inputs and outputs.
    kept = 6 * shape.hidden + 2 * shape.queries + 2 * shape.keys + 4 * shape.feed_forward
    block = kept * width + 4 * shape.hidden * 4
    blocks = shape.layers * shape.hidden * width + block if trial.gradient_checkpointing else shape.layers * block
    return float(tokens * (blocks + shape.vocabulary * (width + 8)))
