"""Memory that runs out in training: step and size are told, and a training with less of it is the same."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny import random_direction, random_samples, references_of, sums_of, tiny_llama
from trajectories import trial

from training.constraints import build_constraint
from training.distributed.deepspeed_config import BatchSizes
from training.loop.checkpointing import Checkpointing
from training.loop.train import MemoryRanOut, TrainingSet
from training.loop.tuning import tuned

CPU = torch.device("cpu")


class Room:
    """A device on which so many samples fit at once, from the given forward pass on."""

    def __init__(self, rows: int, after: int = 0) -> None:
        self._rows = rows
        self._after = after
        self.seen: list[int] = []

    def __call__(self, _module, _arguments, given):
        if not torch.is_grad_enabled():
            return
        self.seen.append(len(given["input_ids"]))
        if len(self.seen) > self._after and self.seen[-1] > self._rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has 80 GiB.")


def weights(model, config, at_most=None, room=None, checkpointing=None):
    """What a training comes to: sums over the weights."""
    samples, direction = random_samples(60), random_direction()
    constraint = build_constraint(config.constraint, direction, CPU)
    data = TrainingSet(samples, 40, references_of(model, samples, direction))
    hook = model.model.register_forward_pre_hook(room, with_kwargs=True) if room is not None else None
    try:
        with tuned(model, config, data, constraint, lambda _report: False, checkpointing, at_most=at_most) as (made, _):
            return sums_of(made)
    finally:
        if hook is not None:
            hook.remove()


@pytest.mark.usefixtures("process")
class TestTraining:
    def test_it_says_where_it_ran_out_and_what_may_fit(self):
        room = Room(4)
        with pytest.raises(MemoryRanOut) as short:
            weights(tiny_llama(), trial(), room=room)
        assert str(short.value) == (
            "memory ran out on rank 0 in step 1, with a micro-batch of 8 "
            "(CUDA out of memory. Tried to allocate 2.00 GiB.)"
        )
        assert (short.value.smaller, short.value.__context__, room.seen) == (4, None, [8])

    @pytest.mark.parametrize("stage", [0, 2])
    def test_it_goes_on_from_its_checkpoint_and_comes_to_the_same(self, tmp_path, stage):
        config = trial(checkpoint_every=1, deepspeed={"zero_stage": stage})
        expected = weights(tiny_llama(), config)
        model, where = tiny_llama(), Checkpointing(tmp_path, 1, model="tiny", say=lambda _sentence: None)
        with pytest.raises(MemoryRanOut, match=r"in step 4, with a micro-batch of 8") as short:
            weights(model, config, room=Room(4, after=3), checkpointing=where)
        assert not short.value.sharded
        room = Room(4)
        found = weights(model, config, at_most=4, room=room, checkpointing=where)
        assert found == pytest.approx(expected, rel=1e-4)
        assert room.seen == [4] * 6, "steps 4 to 6 in two passes each"

    def test_a_single_sample_that_does_not_fit_leaves_nothing_to_try(self):
        with pytest.raises(MemoryRanOut) as short:
            weights(tiny_llama(), trial(), at_most=1, room=Room(0))
        assert short.value.smaller is None

    def test_another_error_is_left_as_it_is(self):
        def broken(*_given):
            raise RuntimeError("an index is out of range")

        with pytest.raises(RuntimeError, match="out of range"):
            weights(tiny_llama(), trial(), room=broken)


@pytest.mark.parametrize(
    ("batch", "workers", "micro", "at_most", "size", "smaller"),
    [
        (32, 1, None, None, 32, 16),
        (32, 1, None, 16, 16, 8),
        (32, 1, 4, 16, 4, 2),
        (24, 2, None, 5, 4, 2),
        (14, 2, None, 6, 1, None),
        (14, 2, None, None, 7, 1),
    ],
)
def test_micro_batches_divide_the_share_of_a_worker(batch, workers, micro, at_most, size, smaller):
    sizes = BatchSizes.derive(trial(batch_size=batch, micro_batch_size=micro), workers, at_most)
    assert (sizes.micro_batch_size, sizes.smaller) == (size, smaller)
    assert workers * sizes.micro_batch_size * sizes.accumulation == batch


@pytest.mark.slow
def test_an_allocation_that_truly_fails_is_gone_on_from():
    """A process whose address space is limited to what smaller micro-batches need."""
    program = Path(__file__).with_name("short_of_memory.py")
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["failures"], "the limit was never met"
    assert all("can't allocate memory" in failure for failure in found["failures"])
    assert found["at_most"] < found["batch_size"]
    assert found["limited"] == pytest.approx(found["unlimited"], rel=1e-4)
