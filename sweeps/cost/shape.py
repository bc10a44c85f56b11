"""The sizes of a decoder, read from the ``config.json`` of transformers: how many weights it has, and where (pure).

Counted exactly, and compared in the tests with what transformers builds: Llama, Mistral, Qwen2, Qwen3, Gemma 1 to 3,
Phi 1 to 4, Mixtral, Qwen2-MoE and Qwen3-MoE. Other architectures, hybrids with state-space layers among them, have no
shape, and a plan says that it does not know them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from training.config import AdapterTuning

TIED_BY_DEFAULT = ("gemma", "gemma2", "gemma3_text", "gemma3")
BIASED = ("qwen2", "qwen2_moe")
"""Architectures whose query, key and value projections always have biases."""
NORMED_HEADS = ("qwen3", "qwen3_moe", "gemma3_text")
"""Architectures that normalise queries and keys per head."""
FOUR_NORMS = ("gemma2", "gemma3_text")
"""Architectures that normalise what attention and feed-forward give, too."""
FUSED = ("phi3",)
"""Architectures with one matrix for queries, keys and values, and one for gate and up."""
MIXTURES = ("mixtral", "qwen2_moe", "qwen3_moe")
"""Architectures with experts, which transformers keeps in one tensor for all of a block."""
ADAPTED_EXPERTS = ("mixtral", "qwen3_moe")
"""Mixtures whose experts PEFT gives adapters under ``all-linear``."""
KNOWN = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi", "phi3", *MIXTURES)
"""``model_type`` of the architectures whose weights are counted."""


@dataclass(frozen=True)
class Experts:
    """The experts of one block."""

    number: int
    active: int
    """How many each token is sent to."""
    width: int
    """Of one expert's feed-forward layer."""

    def parameters(self, hidden: int) -> int:
        """Weights of all of them: gate, up and down."""
        return 3 * self.number * hidden * self.width


@dataclass(frozen=True)
class Block:
    """One decoder block."""

    linear: Mapping[str, tuple[int, int]]
    """(inputs, outputs) of its linear layers by name, without experts."""
    other: int
    """Weights of norms and biases, and of routers."""
    feed_forward: int
    """Width of the feed-forward layer that every token goes through; 0 where there are experts alone."""
    experts: Experts | None = None
    window: int | None = None
    """Tokens that attention reaches back; None reaches all."""

    @property
    def linear_parameters(self) -> int:
        """Weights of the linear layers, biases left out."""
        return sum(inputs * outputs for inputs, outputs in self.linear.values())

    def parameters(self, hidden: int) -> int:
        """All weights."""
        return self.linear_parameters + self.other + (self.experts.parameters(hidden) if self.experts else 0)


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder-only language model."""

    model_type: str
    hidden: int
    heads: int
    queries: int
    """Width of all query heads together."""
    keys: int
    """Width of all key heads together, which is that of the value heads."""
    vocabulary: int
    tied: bool
    """Whether the output head is the embedding."""
    blocks: tuple[Block, ...]
    beside: int = 0
    """Weights outside the decoder that come with it: a vision tower."""
    scores: Literal["none", "plain", "capped"] = "none"
    """Which attention scores are kept: none by fused attention, all by the attention ``eager``, twice where they are
    capped, as in Gemma 2, which SDPA cannot do."""

    @classmethod
    def of_config(cls, config: Mapping[str, Any], attention: str | None = None) -> Self | None:
        """The shape that a ``config.json`` of transformers describes; None where its architecture is not counted.

        Args:
            config: as in the file.
            attention: ``attn_implementation`` of the model.

        Raises:
            KeyError: an entry is left to the default of transformers, which is not known here.
        """
        beside = 0
        text = config
        if config.get("model_type") == "gemma3":
            text = {"tie_word_embeddings": config.get("tie_word_embeddings", True), **config["text_config"]}
            beside = _siglip(config["vision_config"], int(text["hidden_size"]))
        kind = text.get("model_type", "")
        if kind not in KNOWN:
            return None
        heads = int(text["num_attention_heads"])
        own_head = text["head_dim"] if kind.startswith("gemma") or kind in NORMED_HEADS else text.get("head_dim")
        head = int(own_head or text["hidden_size"] // heads)
        keys = int(text.get("num_key_value_heads") or heads) * head
        return cls(
            model_type=kind,
            hidden=int(text["hidden_size"]),
            heads=heads,
            queries=heads * head,
            keys=keys,
            vocabulary=int(text["vocab_size"]),
            tied=bool(text.get("tie_word_embeddings", kind in TIED_BY_DEFAULT)),
            blocks=tuple(
                _block(text, kind, heads * head, keys, head, index) for index in range(int(text["num_hidden_layers"]))
            ),
            beside=beside,
            scores=_scores(kind, attention),
        )

    @property
    def layers(self) -> int:
        """Decoder blocks."""
        return len(self.blocks)

    @property
    def embedding(self) -> int:
        """Weights of the embedding, and of the output head where it is another."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def linear_parameters(self) -> int:
        """Weights of the linear layers of all blocks, biases and experts left out: what QLoRA keeps in 4 bits."""
        return sum(block.linear_parameters for block in self.blocks)

    @property
    def expert_parameters(self) -> int:
        """Weights of all experts."""
        return sum(block.experts.parameters(self.hidden) for block in self.blocks if block.experts)

    @property
    def parameters(self) -> int:
        """All weights of the model."""
        last_norm = 2 * self.hidden + self.vocabulary if self.model_type == "phi" else self.hidden  # and head's biases
        return self.embedding + sum(block.parameters(self.hidden) for block in self.blocks) + last_norm + self.beside

    def adapts_experts(self, tuning: AdapterTuning) -> bool:
        """Whether the experts get adapters."""
        return tuning.targets == "all-linear" and self.model_type in ADAPTED_EXPERTS and self.expert_parameters > 0

    def adapter_parameters(self, tuning: AdapterTuning) -> int:
        """Weights of the adapters: r x (inputs + outputs) for every linear layer that has one.

        An expert has one of 2 r for gate and up, which are one matrix, and one of r for down; its router has one too.
        """
        rank, total = tuning.rank, 0
        for block in self.blocks:
            adapted = adapted_layers(block, tuning)
            total += rank * sum(inputs + outputs for inputs, outputs in adapted.values())
            if tuning.use_dora:
                total += sum(outputs for _, outputs in adapted.values())
            if block.experts is not None and self.adapts_experts(tuning):
                number, width = block.experts.number, block.experts.width
                total += rank * (self.hidden + number)
                total += rank * number * (2 * (self.hidden + 2 * width) + (width + self.hidden))
        return total


def adapted_layers(block: Block, tuning: AdapterTuning) -> dict[str, tuple[int, int]]:
    """The linear layers of ``block`` that get an adapter, experts left out."""
    if tuning.targets == "all-linear":
        return dict(block.linear)
    named = set(tuning.targets)
    return {name: sizes for name, sizes in block.linear.items() if name.rpartition(".")[2] in named or name in named}


def _block(text: Mapping[str, Any], kind: str, queries: int, keys: int, head: int, index: int) -> Block:
    hidden, width = int(text["hidden_size"]), int(text.get("intermediate_size") or 0)
    experts = _experts(text, kind, index)
    linear = _attention(kind, hidden, queries, keys)
    if kind == "phi":
        linear |= {"fc1": (hidden, width), "fc2": (width, hidden)}
        biases = sum(outputs for _, outputs in linear.values())
        return Block(linear, biases + 2 * hidden, width)
    if experts is None:
        linear |= _gated(kind, hidden, width)
    other = (4 if kind in FOUR_NORMS else 2) * hidden
    if kind in NORMED_HEADS:
        other += 2 * head
    if kind in BIASED and text.get("qkv_bias", True):
        other += queries + 2 * keys
    elif kind not in BIASED and text.get("attention_bias"):
        other += queries + 2 * keys + hidden
    if text.get("mlp_bias"):
        other += 2 * width + hidden
    if experts is not None:
        other += hidden * experts.number  # the router
        width = int(text.get("shared_expert_intermediate_size") or 0) if kind == "qwen2_moe" else 0
        if width:
            linear |= {f"shared_expert.{name}": sizes for name, sizes in _gated(kind, hidden, width).items()}
            linear["shared_expert_gate"] = (hidden, 1)
    return Block(linear, other, width, experts, _window(text, kind, index))


def _attention(kind: str, hidden: int, queries: int, keys: int) -> dict[str, tuple[int, int]]:
    if kind in FUSED:
        return {"qkv_proj": (hidden, queries + 2 * keys), "o_proj": (queries, hidden)}
    last = "dense" if kind == "phi" else "o_proj"
    return {"q_proj": (hidden, queries), "k_proj": (hidden, keys), "v_proj": (hidden, keys), last: (queries, hidden)}


def _gated(kind: str, hidden: int, width: int) -> dict[str, tuple[int, int]]:
    if kind in FUSED:
        return {"gate_up_proj": (hidden, 2 * width), "down_proj": (width, hidden)}
    return {"gate_proj": (hidden, width), "up_proj": (hidden, width), "down_proj": (width, hidden)}


def _experts(text: Mapping[str, Any], kind: str, index: int) -> Experts | None:
    if kind == "mixtral":
        return Experts(int(text["num_local_experts"]), int(text["num_experts_per_tok"]), int(text["intermediate_size"]))
    if kind not in MIXTURES:
        return None
    number = int(text["num_experts"] if "num_experts" in text else text["num_local_experts"])
    dense = index in (text.get("mlp_only_layers") or []) or number == 0
    if dense or (index + 1) % int(text.get("decoder_sparse_step") or 1):
        return None
    return Experts(number, int(text["num_experts_per_tok"]), int(text["moe_intermediate_size"]))


def _window(text: Mapping[str, Any], kind: str, index: int) -> int | None:
    """Tokens that the attention of block ``index`` reaches back, as transformers derives it."""
    window = text.get("sliding_window")
    kinds = text.get("layer_types")
    if kinds:
        return int(window) if window and kinds[index] == "sliding_attention" else None
    if not window:
        return None
    if kind.startswith("qwen"):
        reaches_all = not text.get("use_sliding_window") or index < int(text.get("max_window_layers") or 0)
    elif kind == "gemma2":
        reaches_all = index % 2 == 1
    elif kind == "gemma3_text":
        reaches_all = (index + 1) % int(text.get("sliding_window_pattern") or 6) == 0
    else:
        reaches_all = kind not in ("mistral", "mixtral", "phi3")
    return None if reaches_all else int(window)


def _scores(kind: str, attention: str | None) -> Literal["none", "plain", "capped"]:
    if kind == "gemma2" and attention in (None, "sdpa", "eager"):
        return "capped"
    return "plain" if attention == "eager" else "none"


def _siglip(vision: Mapping[str, Any], hidden: int) -> int:
    """Weights of Gemma 3's vision tower and of the projection from it."""
    width, between = int(vision["hidden_size"]), int(vision["intermediate_size"])
    patch, channels = int(vision["patch_size"]), int(vision.get("num_channels") or 3)
    positions = (int(vision["image_size"]) // patch) ** 2
    embedding = channels * patch**2 * width + width + positions * width
    attention = 4 * (width * width + width)
    block = attention + 2 * width * between + between + width + 4 * width
    return embedding + int(vision["num_hidden_layers"]) * block + 2 * width + width * hidden + width
