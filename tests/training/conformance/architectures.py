"""Tiny random models of current architectures: two layers, of which hybrids have one of each kind."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

COMMON = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,  # wide enough for answers that differ between prompts
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
GATED_DELTA = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_chunk_size": 8}
SLIDING = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 6}


@dataclass(frozen=True)
class Architecture:
    """One architecture of transformers, small enough to be tried in milliseconds."""

    name: str
    """As people call it."""
    model_type: str
    """As transformers calls it."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What its configuration has beside :data:`COMMON`; none leaves an entry of it out."""
    reads: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm")
    """Parts of a decoder layer that read the residual stream, as its source says; a layer has some of them."""

    def model(self, seed: int = 0) -> PreTrainedModel:
        """A random model in evaluation mode, on the CPU, in float32; norms and biases are random too."""
        settings = {key: value for key, value in {**COMMON, **self.settings}.items() if value is not None}
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(self.model_type, **settings)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:  # a norm of ones passes a direction on that a trained norm would not
                    parameter += 0.3 * torch.randn_like(parameter)
        return model


ARCHITECTURES = (
    Architecture("Llama 2, 3", "llama"),
    Architecture("Mistral", "mistral", {"sliding_window": 6}),
    Architecture("Qwen2, Qwen2.5", "qwen2", {"head_dim": None}),
    Architecture("Qwen3", "qwen3"),
    Architecture("Qwen3-MoE", "qwen3_moe", EXPERTS),
    Architecture("Qwen3.5", "qwen3_5_text", GATED_DELTA),
    Architecture("Qwen3.5-MoE", "qwen3_5_moe_text", {**GATED_DELTA, **EXPERTS, "shared_expert_intermediate_size": 24}),
    Architecture("Qwen3-Next", "qwen3_next", {**GATED_DELTA, **EXPERTS, "shared_expert_intermediate_size": 24}),
    Architecture("Gemma", "gemma"),
    Architecture(
        "Gemma 2",
        "gemma2",
        {**SLIDING, "query_pre_attn_scalar": 8},
        reads=("input_layernorm", "pre_feedforward_layernorm"),
    ),
    Architecture(
        "Gemma 3",
        "gemma3_text",
        {**SLIDING, "query_pre_attn_scalar": 8},
        reads=("input_layernorm", "pre_feedforward_layernorm"),
    ),
    Architecture(
        "Gemma 4",
        "gemma4_text",
        {**SLIDING, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 300, "global_head_dim": 8},
        reads=("input_layernorm", "pre_feedforward_layernorm", "per_layer_input_gate"),
    ),
    Architecture("Phi-3, Phi-4", "phi3", {"head_dim": None}),
    Architecture("gpt-oss", "gpt_oss", {**SLIDING, "num_local_experts": 4, "num_experts_per_tok": 2}),
    Architecture("Mixtral", "mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    Architecture(
        "LFM2",
        "lfm2",
        {"head_dim": None, "layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
        reads=("operator_norm", "ffn_norm"),
    ),
    Architecture(
        "Falcon-H1",
        "falcon_h1",
        {**MAMBA, "mamba_d_ssm": 64, "head_dim": None},
        reads=("input_layernorm", "pre_ff_layernorm"),
    ),
    Architecture(
        "Granite 4 (hybrid)",
        "granitemoehybrid",
        {
            **MAMBA,
            "head_dim": None,
            "layer_types": ["linear_attention", "full_attention"],
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "shared_intermediate_size": 24,
        },
    ),
    Architecture(
        "Nemotron-H",
        "nemotron_h",
        {
            "layers_block_type": ["linear_attention", "full_attention", "mlp"],
            "num_hidden_layers": None,
            "mamba_num_heads": 4,
            "mamba_head_dim": 16,
            "ssm_state_size": 8,
            "n_groups": 1,
            "chunk_size": 8,
        },
        reads=("norm",),
    ),
    Architecture(
        "Llama 4",
        "llama4_text",
        {
            "intermediate_size_mlp": 48,
            "num_local_experts": 4,
            "num_experts_per_tok": 1,
            "moe_layers": [1],
            "attention_chunk_size": 8,
            "no_rope_layers": [1, 0],
        },
    ),
    Architecture(
        "DeepSeek-V3",
        "deepseek_v3",
        {
            "q_lora_rank": 16,
            "kv_lora_rank": 16,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 8,
            "n_routed_experts": 4,
            "n_group": 1,
            "topk_group": 1,
            "num_experts_per_tok": 2,
            "first_k_dense_replace": 1,
            "moe_intermediate_size": 24,
            "head_dim": None,
            "num_key_value_heads": 4,
        },
    ),
    Architecture("OLMo 2", "olmo2", {"head_dim": None}, reads=("self_attn", "mlp")),
    Architecture("OLMo 3", "olmo3", {**SLIDING, "head_dim": None}, reads=("self_attn", "mlp")),
    Architecture(
        "Granite 3",
        "granite",
        {"head_dim": None, "residual_multiplier": 0.22, "embedding_multiplier": 12.0, "logits_scaling": 8.0},
    ),
    Architecture("Command R7B", "cohere2", {**SLIDING, "head_dim": None}, reads=("input_layernorm",)),
    Architecture("GLM-4", "glm4", {}),
    Architecture("SmolLM3", "smollm3", {"head_dim": None}),
    Architecture("Phi", "phi", {"head_dim": None}, reads=("input_layernorm",)),
    Architecture("GPT-NeoX, Pythia", "gpt_neox", {"head_dim": None, "num_key_value_heads": None}),
)
REFUSED = (
    Architecture(
        "Gemma 3n",
        "gemma3n_text",
        {
            **SLIDING,
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": 300,
            "num_kv_shared_layers": 0,
            "laurel_rank": 4,
            "activation_sparsity_pattern": [0.0, 0.0],
        },
    ),
    Architecture("DeepSeek-V4", "deepseek_v4"),
    Architecture("RWKV", "rwkv"),
    Architecture("RecurrentGemma", "recurrent_gemma", {"block_types": ["recurrent", "attention"]}),
)
"""Of these nothing can be had: :func:`training.models.checks.check_model` says why."""
BY_NAME = {one.name: one for one in (*ARCHITECTURES, *REFUSED)}
