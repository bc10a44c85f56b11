"""The estimate of memory against real models of each architecture, with random weights."""

import pytest
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from sweeps.cost.memory import KNOWN, Shape, worker_memory
from training.config import LoraTuning, TrialConfig
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
}


def tiny(kind, **changes):
    return AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**{**SIZES, **changes}))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", KNOWN)
def test_weights_are_counted_exactly(kind, tied):
    model = tiny(kind, tie_word_embeddings=tied)
    shape = Shape.of_config(model.config.to_dict())
    assert shape is not None
    assert shape.parameters == model.num_parameters()


def test_biases_of_llama_are_counted():
    model = tiny("llama", attention_bias=True)
    shape = Shape.of_config(model.config.to_dict())
    assert shape is not None
    assert shape.parameters == model.num_parameters()


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "down_proj"]])
def test_adapter_weights_are_counted_exactly(targets):
    model = tiny("qwen2")
    shape = Shape.of_config(model.config.to_dict())
    tuning = LoraTuning(rank=5, targets=targets)
    adapted = attach(model, tuning, seed=0)
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    assert shape is not None
    assert shape.adapter_parameters(tuning) == trained


def test_an_architecture_that_is_not_counted_has_no_shape():
    assert Shape.of_config({"model_type": "mixtral"}) is None


LLAMA = Shape("llama", 32, 4096, 4096, 1024, 128, 14336, 128256, tied=False)
"""Llama-3-8B."""


def trial(**changes):
    return TrialConfig.model_validate({"precision": "bf16", "batch_size": 8, "micro_batch_size": 1, **changes})


class TestLlama3:
    def test_parameters_are_the_published_number(self):
        assert LLAMA.parameters == 8_030_261_248

    def test_full_tuning_keeps_the_base_model_and_the_copy(self):
        found = worker_memory(LLAMA, trial(tuning={"type": "full"}, deepspeed={"zero_stage": 0}), workers=1)
        assert found.weights == 2 * 2 * LLAMA.parameters
        assert found.gradients == 6 * LLAMA.parameters  # 0 is run as 1 in bf16
        assert found.optimizer == 12 * LLAMA.parameters

    @pytest.mark.parametrize(
        ("stage", "gradients", "optimizer"), [(0, 6, 0.25), (1, 6, 0.25), (2, 1, 0.25), (3, 1, 0.25)]
    )
    def test_zero_shares_among_the_workers(self, stage, gradients, optimizer):
        full = trial(tuning={"type": "full"}, deepspeed={"zero_stage": stage})
        found = worker_memory(LLAMA, full, workers=4)
        assert found.gradients == LLAMA.parameters * gradients
        assert found.optimizer == 12 * LLAMA.parameters * optimizer

    @pytest.mark.parametrize("stage", [1, 2])
    def test_gradients_that_are_added_up_in_bf16_take_two_bytes(self, stage):
        overrides = {"data_types": {"grad_accum_dtype": "bf16"}}
        full = trial(tuning={"type": "full"}, deepspeed={"zero_stage": stage, "overrides": overrides})
        assert worker_memory(LLAMA, full, workers=1).gradients == 2 * LLAMA.parameters

    def test_four_bits_are_a_quarter_of_bf16_in_the_linear_layers(self):
        lora, qlora = (worker_memory(LLAMA, trial(tuning={"type": kind}), 1).weights for kind in ("lora", "qlora"))
        assert qlora < lora / 2
        assert lora - qlora == pytest.approx(LLAMA.linear_parameters * (2 - 4.127 / 8))

    def test_float32_without_zero_has_no_master_copy(self):
        plain, zero = (
            worker_memory(LLAMA, trial(precision="fp32", deepspeed={"zero_stage": stage}), 1).optimizer
            for stage in (0, 2)
        )
        assert zero == pytest.approx(1.5 * plain)

    def test_offloaded_states_are_on_the_host(self):
        offload = {"zero_stage": 2, "overrides": {"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}}
        here, there = (worker_memory(LLAMA, trial(deepspeed=deepspeed), 1) for deepspeed in ({}, offload))
        assert (there.optimizer, there.host) == (0.0, here.optimizer)
        assert there.total == here.total - here.optimizer

    def test_activations_grow_with_the_micro_batch_and_shrink_with_checkpointing(self):
        one, two, cheap = (
            worker_memory(LLAMA, trial(**changes), 1).activations
            for changes in ({}, {"micro_batch_size": 2}, {"gradient_checkpointing": True})
        )
        assert two == 2 * one
        assert cheap < one / 4
