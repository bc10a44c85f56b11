"""Weights counted from a configuration, against real models of each architecture on the meta device."""

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from sweeps.cost.shape import KNOWN, Shape
from training.config import LoraTuning
from training.models.adapters import attach

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "vocab_size": 100,
    "pad_token_id": 0,
    "eos_token_id": 2,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
MORE = {
    "mixtral": {"num_local_experts": 4},
    "qwen3_moe": {**EXPERTS, "mlp_only_layers": [1]},
    "qwen2_moe": {**EXPERTS, "shared_expert_intermediate_size": 40, "decoder_sparse_step": 2},
}
WITHOUT_HEAD_DIM = ("phi", "phi3", "qwen2", "qwen2_moe")


def config_of(kind, **changes):
    sizes = {**SIZES, **MORE.get(kind, {}), **changes}
    if kind in WITHOUT_HEAD_DIM:
        del sizes["head_dim"]
    return CONFIG_MAPPING[kind](**sizes)


def empty(config):
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", KNOWN)
def test_weights_are_counted_exactly(kind, tied):
    config = config_of(kind, tie_word_embeddings=tied)
    shape = Shape.of_config(config.to_dict())
    assert shape is not None
    assert shape.parameters == empty(config).num_parameters()


@pytest.mark.parametrize(
    ("kind", "changes"),
    [("llama", {"attention_bias": True}), ("llama", {"mlp_bias": True}), ("qwen2_moe", {"qkv_bias": False})],
)
def test_optional_biases_are_counted(kind, changes):
    config = config_of(kind, **changes)
    assert Shape.of_config(config.to_dict()).parameters == empty(config).num_parameters()


def test_gemma3_is_counted_with_its_vision_tower():
    vision = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision |= {"image_size": 28, "patch_size": 14, "vision_use_head": False}  # as published
    config = CONFIG_MAPPING["gemma3"](text_config={**SIZES, "model_type": "gemma3_text"}, vision_config=vision)
    shape = Shape.of_config(config.to_dict())
    assert shape.parameters == empty(config).num_parameters()
    assert shape.beside > 0


@pytest.mark.filterwarnings("ignore:The following .*_pattern keys:RuntimeWarning")
@pytest.mark.parametrize("kind", ["qwen2", "gemma3_text", "phi", "phi3", "mixtral", "qwen2_moe", "qwen3_moe"])
def test_adapter_weights_are_counted_exactly(kind):
    config = config_of(kind, **({"mlp_only_layers": []} if kind == "qwen3_moe" else {}))
    tuning = LoraTuning(rank=5)
    adapted = attach(AutoModelForCausalLM.from_config(config), tuning, seed=0)
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    assert Shape.of_config(config.to_dict()).adapter_parameters(tuning) == trained


def test_named_targets_alone_are_counted():
    config = config_of("qwen2")
    tuning = LoraTuning(rank=5, targets=["q_proj", "down_proj"])
    adapted = attach(AutoModelForCausalLM.from_config(config), tuning, seed=0)
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    assert Shape.of_config(config.to_dict()).adapter_parameters(tuning) == trained


@pytest.mark.parametrize(
    ("kind", "changes", "windows"),
    [
        ("llama", {}, [None] * 6),
        ("mistral", {"sliding_window": 7}, [7] * 6),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 4}, [None] * 4 + [7] * 2),
        ("gemma2", {"sliding_window": 7}, [7, None] * 3),
        ("gemma3_text", {"sliding_window": 7}, [7] * 5 + [None]),
    ],
)
def test_windows_are_those_of_transformers_with_and_without_its_list_of_layers(kind, changes, windows):
    written = config_of(kind, num_hidden_layers=6, **changes).to_dict()
    for config in (written, {**written, "layer_types": None}):
        assert [block.window for block in Shape.of_config(config).blocks] == windows


@pytest.mark.parametrize("kind", ["qwen3_next", "falcon_h1", "deepseek_v3"])
def test_an_architecture_that_is_not_counted_has_no_shape(kind):
    assert Shape.of_config({"model_type": kind}) is None


def test_an_entry_left_to_transformers_is_not_guessed():
    config = config_of("gemma3_text").to_dict()
    del config["head_dim"]
    with pytest.raises(KeyError, match="head_dim"):
        Shape.of_config(config)
