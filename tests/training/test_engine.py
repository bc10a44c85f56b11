import importlib
import inspect
import os
import subprocess
import sys

import pytest

from training.config import TrialConfig
from training.engine import BatchSizes, deepspeed_config, start_process
from training.errors import TrainingError


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
    assert parsed.gradient_clipping == 0.7
    assert parsed.zero_config.stage == stage
    assert parsed.bfloat16_config.enabled == (precision == "bf16")


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
    """No launcher, none of its variables, nothing on the terminal."""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "DS_ACCELERATOR")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    code = "from training.engine import *; start_process(); print(rank(), world_size(), from_rank_zero(lambda: 7))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "0 1 7\n"
    assert done.stderr == ""


def test_the_module_does_not_import_deepspeed():
    code = "import sys, training.loop, training.workbench; assert 'deepspeed' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
