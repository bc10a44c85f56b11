"""The estimate of memory on the sizes of published models."""

from typing import Any

import pytest
from published_shapes import LLAMA_8B

from sweeps.cost.activations import LOGITS_BOUND
from sweeps.cost.memory import BUCKET, worker_memory
from sweeps.cost.shape import Shape
from training.config import TrialConfig

LLAMA = Shape.of_config(LLAMA_8B)
MIXTRAL = Shape.of_config(
    {**LLAMA_8B, "model_type": "mixtral", "vocab_size": 32000, "num_local_experts": 8, "num_experts_per_tok": 2}
)


def trial(**changes):
    return TrialConfig.model_validate({"precision": "bf16", "batch_size": 8, "micro_batch_size": 1, **changes})


def full(stage, **changes):
    return trial(tuning={"type": "full"}, deepspeed={"zero_stage": stage, **changes})


def test_parameters_are_the_published_numbers():
    assert LLAMA.parameters == 8_030_261_248
    assert MIXTRAL.parameters == 46_702_792_704


class TestTraining:
    def test_full_tuning_keeps_the_base_model_and_the_copy(self):
        found = worker_memory(LLAMA, full(0), workers=1)
        assert found.weights == 2 * 2 * LLAMA.parameters
        assert found.gradients == 6 * LLAMA.parameters  # 0 is run as 1 in bf16, over several forward passes
        assert found.optimizer == 12 * LLAMA.parameters

    @pytest.mark.parametrize(
        ("stage", "kept", "passing", "shared"), [(0, 4, 2, 1), (1, 4, 2, 1), (2, 4, 0, 4), (3, 4, 0, 4)]
    )
    def test_zero_shares_among_the_workers(self, stage, kept, passing, shared):
        found = worker_memory(LLAMA, full(stage), workers=4)
        largest = LLAMA.vocabulary * LLAMA.hidden * 2 if stage >= 2 else 0
        assert found.gradients == LLAMA.parameters * (kept / shared + passing) + largest
        assert found.optimizer == 12 * LLAMA.parameters / 4

    def test_what_constraints_keep_beside_the_weights(self):
        lora = {"tuning": {"type": "lora", "rank": 8}, "micro_batch_size": 8}
        plain, surgery, unseen = (
            worker_memory(LLAMA, trial(**lora, constraint=block), workers=1)
            for block in (
                {"alpha": 0.0},
                {"type": "safe_grad", "samples": 8},
                {"type": "null_space", "directions": 4},
            )
        )
        trained = LLAMA.adapter_parameters(trial(**lora).tuning)
        assert surgery.buffers - plain.buffers == 4 * trained, "the alignment gradient"
        inputs = 32 * (6 * 4096 + 14336)
        assert unseen.buffers - plain.buffers == 4 * 4 * inputs
        larger = trial(**{**lora, "micro_batch_size": 2}, constraint={"type": "safe_grad", "samples": 8})
        assert worker_memory(LLAMA, larger, workers=1).activations == surgery.activations, "its pass is the largest"

    def test_zero_3_shares_the_weights_and_keeps_its_first_copy_on_the_host(self):
        weights = [worker_memory(LLAMA, full(3), workers=n).weights for n in (1, 2, 4, 8)]
        assert weights[0] == 2 * LLAMA.parameters
        gathered = weights[3] - 2 * LLAMA.parameters / 8
        assert 0 < gathered < 0.15 * 2 * LLAMA.parameters
        assert weights[2] - gathered == pytest.approx(2 * LLAMA.parameters / 4)
        assert worker_memory(LLAMA, full(3), workers=4).host == 2 * LLAMA.parameters / 4

    @pytest.mark.parametrize("stage", [2, 3])
    def test_gradients_that_are_added_up_in_bf16_take_two_bytes(self, stage):
        largest = LLAMA.vocabulary * LLAMA.hidden * 2
        found = worker_memory(LLAMA, full(stage, overrides={"data_types": {"grad_accum_dtype": "bf16"}}), workers=1)
        assert found.gradients == 2 * LLAMA.parameters + largest

    def test_four_bits_are_a_quarter_of_bf16_in_the_linear_layers_and_experts_stay(self):
        for shape in (LLAMA, MIXTRAL):
            lora, qlora = (worker_memory(shape, trial(tuning={"type": kind}), 1).weights for kind in ("lora", "qlora"))
            assert lora - qlora == pytest.approx(shape.linear_parameters * (2 - 4.127 / 8))
        assert qlora > 0.9 * lora

    def test_float32_without_zero_has_no_master_copy(self):
        plain, zero = (
            worker_memory(LLAMA, trial(precision="fp32", deepspeed={"zero_stage": stage}), 1).optimizer
            for stage in (0, 2)
        )
        assert zero == pytest.approx(1.5 * plain)

    def test_the_bucket_is_no_larger_than_what_is_trained_unless_it_is_given_a_size_of_which_a_gpu_takes_all(self):
        def bucket(size: int) -> Any:
            return trial(deepspeed={"overrides": {"zero_optimization": {"reduce_bucket_size": size}}})

        adapters = worker_memory(LLAMA, trial(), 1, gpu=True).buffers
        assert adapters == worker_memory(LLAMA, trial(), 1, gpu=False).buffers < 2 * BUCKET / 10
        assert worker_memory(LLAMA, bucket(BUCKET), 1, gpu=True).buffers == 2 * BUCKET
        assert worker_memory(LLAMA, bucket(BUCKET), 1, gpu=False).buffers == adapters
        assert worker_memory(LLAMA, bucket(1000), 1).buffers == 2000

    def test_offloaded_states_are_on_the_host_which_on_a_cpu_is_the_same(self):
        offload = {"zero_stage": 2, "overrides": {"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}}
        here, there, same = (
            worker_memory(LLAMA, trial(deepspeed=deepspeed), 1, gpu=gpu)
            for deepspeed, gpu in (({}, True), (offload, True), (offload, False))
        )
        assert (there.optimizer, there.host) == (0.0, here.optimizer + here.gradients)
        assert there.total == here.total - there.host
        assert same.host == 0.0
        assert same.total > there.total - there.buffers

    def test_local_judges_are_beside_it(self):
        alone, judged = (worker_memory(LLAMA, trial(), 1, judges=judges).total for judges in (0.0, 15e9))
        assert judged - alone == 15e9


class TestActivations:
    def test_they_grow_with_the_micro_batch_and_shrink_with_checkpointing(self):
        one, two, cheap = (
            worker_memory(LLAMA, trial(**changes), 1).activations
            for changes in ({}, {"micro_batch_size": 2}, {"gradient_checkpointing": True})
        )
        assert two == 2 * one
        assert cheap < one / 4

    def test_logits_are_bounded_whatever_the_length(self):
        for kind, width in (("procon", 10), ("kl_reference", 26), ("constrained_sft", 14)):
            short, long = (
                worker_memory(LLAMA, trial(max_length=length, constraint={"type": kind}), 1) for length in (64, 32768)
            )
            assert short.logits == 64 * LLAMA.vocabulary * width
            assert long.logits == pytest.approx(LOGITS_BOUND / 4 * width, rel=0.01)

    def test_scores_that_no_fused_attention_caps_grow_with_the_square_of_the_length(self):
        capped = Shape.of_config({**LLAMA_8B, "model_type": "gemma2", "head_dim": 128})
        one, two = (worker_memory(capped, trial(max_length=length), 1).activations for length in (4096, 8192))
        assert two > 3 * one

    def test_adapters_on_experts_keep_a_copy_of_the_experts(self):
        lora, full_tuning = (
            worker_memory(MIXTRAL, trial(max_length=16, tuning={"type": kind}), 1) for kind in ("lora", "full")
        )
        assert lora.activations > 2 * MIXTRAL.expert_parameters
        assert full_tuning.activations < lora.activations / 10
