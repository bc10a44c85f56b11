import importlib
import inspect
import os
import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError
from ranks import on_ranks

from sweeps.cost import activations, memory
from training.config import TrialConfig
from training.distributed import deepspeed_config as limits
from training.distributed.deepspeed_config import BatchSizes, deepspeed_config, merged
from training.distributed.engine import initialise
from training.distributed.process import start_process
from training.distributed.ranks import from_rank_zero
from training.errors import ModelError, TrainingError
from training.models.logits import LOGIT_BYTES
from training.models.quantised import load_quantised_model


@pytest.mark.parametrize(
    ("batch", "micro", "ranks", "expected"),
    [(32, None, 1, (32, 1)), (32, None, 4, (8, 1)), (32, 4, 1, (4, 8)), (32, 4, 2, (4, 4)), (1, 1, 1, (1, 1))],
)
def test_batch_arithmetic(batch, micro, ranks, expected):
    sizes = BatchSizes.derive(TrialConfig(batch_size=batch, micro_batch_size=micro), ranks)
    assert (sizes.micro_batch_size, sizes.accumulation) == expected
    assert str(batch) in str(sizes)


@pytest.mark.parametrize(
    ("batch", "micro", "ranks", "message"),
    [
        (32, None, 3, r"trial\.batch_size \(32\) cannot be shared among 3 workers: use a multiple of 3"),
        (32, 16, 4, r"trial\.micro_batch_size \(16\) does not divide the 8 samples .* use a divisor of 8"),
    ],
)
def test_batches_that_do_not_divide_are_refused(batch, micro, ranks, message):
    with pytest.raises(TrainingError, match=message):
        BatchSizes.derive(TrialConfig(batch_size=batch, micro_batch_size=micro), ranks)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_deepspeed_accepts_the_derived_configuration(process, stage, precision):
    from deepspeed.runtime.config import DeepSpeedConfig

    trial = TrialConfig(
        batch_size=8, micro_batch_size=2, gradient_clipping=0.7, precision=precision, deepspeed={"zero_stage": stage}
    )
    parsed = DeepSpeedConfig(deepspeed_config(trial, BatchSizes.derive(trial, 1)))
    assert parsed.train_batch_size == 8
    assert parsed.gradient_accumulation_steps == 4
    # In its plain float32 path DeepSpeed keeps no norm, so we clip there.
    assert parsed.gradient_clipping == (0 if stage == 0 and precision == "fp32" else 0.7)
    assert parsed.zero_config.stage == (max(stage, 1) if precision == "bf16" else stage)
    assert parsed.bfloat16_config.enabled == (precision == "bf16")
    assert parsed.grad_accum_dtype == ("fp32" if precision == "bf16" else None)


def test_the_switch_against_the_shared_memory_build_still_exists(process):
    """Fails when a new DeepSpeed moves the private table that skip_shared_memory_build writes to."""
    import deepspeed.ops
    from deepspeed.accelerator import get_accelerator

    if process.type != "cpu":
        pytest.skip("only CPU training builds it")
    backend = importlib.import_module("deepspeed.comm.torch")
    builder = get_accelerator().create_op_builder("ShareMemCommBuilder")
    assert deepspeed.ops.__compatible_ops__ == {builder.NAME: False}
    assert "deepspeed.ops.__compatible_ops__.get(builder.NAME" in inspect.getsource(backend.build_shm_op)
    assert backend.build_shm_op() is None


def test_starting_twice_is_starting_once(process):
    assert start_process() == process
    assert os.environ["WORLD_SIZE"] == "1"


def test_a_bare_process_starts_quietly(tmp_path):
    """No launcher, none of its variables, nothing on the terminal, and no MLflow, which DeepSpeed would import."""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "DS_ACCELERATOR")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    code = "from training.distributed.process import *; from training.distributed.ranks import *; "
    code += (
        "import sys; start_process(); print(rank(), world_size(), from_rank_zero(lambda: 7), 'mlflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "0 1 7 False\n"
    assert done.stderr == ""


def test_the_module_does_not_import_deepspeed():
    code = "import sys, training.loop.train, training.workbench; assert 'deepspeed' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_overrides_are_merged_at_every_depth(process):
    from deepspeed.runtime.config import DeepSpeedConfig

    overrides = {"zero_optimization": {"offload_optimizer": {"device": "cpu"}, "reduce_bucket_size": 1000}}
    trial = TrialConfig(deepspeed={"zero_stage": 2, "overrides": overrides})
    config = deepspeed_config(trial, BatchSizes.derive(trial, 1))
    assert config["zero_optimization"] == {"stage": 2, **overrides["zero_optimization"]}
    assert config["train_micro_batch_size_per_gpu"] == 32
    parsed = DeepSpeedConfig(config).zero_config
    assert (parsed.stage, parsed.offload_optimizer.device, parsed.reduce_bucket_size) == (2, "cpu", 1000)


def test_merging_changes_neither_side():
    base, changes = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": {"e": 4}}, "f": 5}
    assert merged(base, changes) == {"a": {"b": {"e": 4}, "c": 2}, "d": 3, "f": 5}
    assert (base, changes) == ({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": {"e": 4}}, "f": 5})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"train_batch_size": 8}, "overrides.train_batch_size follows from the trial: remove it and set batch_size"),
        ({"bf16": {"enabled": True}}, "overrides.bf16 follows from the trial: remove it and set precision"),
        ({"optimizer": {"type": "Adam"}}, "remove it and set learning_rate and weight_decay"),
        ({"zero_optimization": {"stage": 1}}, "overrides.zero_optimization.stage .* set zero_stage"),
        ({"zero_optimisation": {}}, "overrides.zero_optimisation is not passed on to DeepSpeed: use one of .*zero_opt"),
    ],
)
def test_what_follows_from_the_trial_cannot_be_overridden(overrides, message):
    with pytest.raises(ValueError, match=message):
        TrialConfig(deepspeed={"overrides": overrides})


@pytest.mark.parametrize("zero", [{"reduce_bukket_size": 1}, {"reduce_bucket_size": "large"}])
def test_overrides_that_deepspeed_refuses_are_an_error_of_ours(process, zero):
    trial = TrialConfig(batch_size=8, deepspeed={"overrides": {"zero_optimization": zero}})
    with pytest.raises(TrainingError, match=r"trial\.deepspeed\.overrides is refused by DeepSpeed \(reduce_bu"):
        initialise(torch.nn.Linear(2, 2), trial, BatchSizes.derive(trial, 1))


def _waits(_argument):
    """Rank 0 works for longer than the process group's own timeout."""
    import time
    from datetime import timedelta

    from torch import distributed

    distributed.destroy_process_group()
    distributed.init_process_group("gloo", timeout=timedelta(seconds=2))
    start_process()
    return from_rank_zero(lambda: time.sleep(4) or "measured")


@pytest.mark.slow
def test_others_wait_for_rank_zero_however_the_process_group_was_made():
    """Fails too when torch moves the private function that lengthens the timeout."""
    assert on_ranks(2, _waits, alone=True) == ["measured", "measured"]


def test_four_bit_weights_are_refused_without_a_gpu(tmp_path):
    with pytest.raises(ModelError, match=r"tuning\.type \(qlora\) needs a CUDA GPU, and this worker trains on cpu"):
        load_quantised_model(tmp_path, "bf16", torch.device("cpu"))


def test_four_bit_weights_are_refused_without_bitsandbytes(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ModelError, match=r"needs bitsandbytes: pip install 'procon-sweeps\[qlora\]'"):
        load_quantised_model(tmp_path, "bf16", torch.device("cuda"))


def test_four_bit_weights_cannot_be_sharded():
    with pytest.raises(ValueError, match=r"zero_stage \(3\) cannot shard the 4-bit weights"):
        TrialConfig(tuning={"type": "qlora"}, deepspeed={"zero_stage": 3})


@pytest.mark.parametrize(
    ("stage", "zero", "reached"),
    [
        (3, {"zero_quantized_weights": True}, lambda zero: zero.zero_quantized_weights),
        (3, {"zero_quantized_gradients": True}, lambda zero: zero.zero_quantized_gradients),
        (3, {"zero_hpz_partition_size": 8}, lambda zero: zero.zero_hpz_partition_size == 8),
        (3, {"offload_param": {"device": "cpu"}}, lambda zero: zero.offload_param.device == "cpu"),
        (2, {"offload_optimizer": {"device": "cpu"}}, lambda zero: zero.offload_optimizer.device == "cpu"),
    ],
)
def test_settings_of_zero_reach_deepspeed(process, stage, zero, reached):
    from deepspeed.runtime.config import DeepSpeedConfig as Theirs

    trial = TrialConfig(deepspeed={"zero_stage": stage, "overrides": {"zero_optimization": zero}})
    assert reached(Theirs(deepspeed_config(trial, BatchSizes(1, 32, 1))).zero_config)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"zero_optimization": {"zero_quantized_weights": True}},
            "zero_quantized_weights has no effect",
        ),
        ({"zero_optimization": {"offload_param": {"device": "cpu"}}}, "offload_param has no effect"),
        ({"tensor_parallel": {"autotp_size": 2}}, "tensor_parallel is not passed on: it needs ranks that train on"),
    ],
)
def test_settings_that_would_do_nothing_or_harm_are_refused(overrides, message):
    with pytest.raises(ValidationError, match=message):
        TrialConfig(deepspeed={"overrides": overrides})


def test_settings_that_ask_for_nothing_are_let_through():
    nothing = {"zero_quantized_weights": False, "offload_param": {"device": "none"}, "zero_hpz_partition_size": 1}
    TrialConfig(deepspeed={"overrides": {"zero_optimization": nothing}})


@pytest.mark.parametrize(
    ("stage", "trained", "bucket"), [(2, 1000, 1000), (2, 10**9, 5 * 10**8), (3, 10**9, 5 * 10**7)]
)
def test_the_bucket_of_gradients_is_no_larger_than_what_is_trained(stage: int, trained: int, bucket: int) -> None:
    trial = TrialConfig.model_validate({"deepspeed": {"zero_stage": stage}})
    config = deepspeed_config(trial, BatchSizes.derive(trial, 1), parameters=10**9, trained=trained)
    assert config["zero_optimization"]["reduce_bucket_size"] == bucket


def test_little_of_a_model_is_fetched_ahead() -> None:
    trial = TrialConfig.model_validate({"deepspeed": {"zero_stage": 3}})
    config = deepspeed_config(trial, BatchSizes.derive(trial, 1), parameters=8 * 10**9, trained=10**7)
    zero = config["zero_optimization"]
    assert zero["stage3_prefetch_bucket_size"] == 4 * 10**7
    assert zero["stage3_max_live_parameters"] == 16 * 10**7
    assert zero["stage3_max_reuse_distance"] == 4 * 10**8


def test_a_plan_counts_with_the_limits_that_training_sets() -> None:
    assert (memory.BUCKET, memory.WHOLE_SHARE) == (limits.BUCKET, limits.WHOLE_SHARE)
    assert limits.LIVE_SHARE == memory.LIVE_SHARE
    assert activations.LOGITS_BOUND == LOGIT_BYTES
