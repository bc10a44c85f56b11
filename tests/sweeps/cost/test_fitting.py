"""What is proposed where a model does not fit: it is tried in the plan, and it fits."""

import pytest
from published_shapes import LLAMA_8B
from test_memory import LLAMA, full, trial

from sweeps.cost.fitting import DEVICES, Setup, remedies, smallest_device, usable
from sweeps.cost.shape import Shape

LARGE = Shape.of_config({**LLAMA_8B, "num_hidden_layers": 80, "hidden_size": 8192, "num_attention_heads": 64})
BIG_BATCH = {"batch_size": 64, "micro_batch_size": 4, "max_length": 2048}


def proposed(shape, setup, gigabytes, **options):
    room = usable(gigabytes * 1e9)
    found = remedies(shape, setup, room, **options)
    assert all(one.memory.total <= room for one in found)
    return [one.changes for one in found]


def test_the_smallest_device_holds_it_and_the_next_smaller_does_not():
    memory = Setup(trial(gradient_checkpointing=True), 1).memory(LLAMA)
    size = smallest_device(memory)
    assert size == 24
    assert memory.total <= usable(size * 1e9)
    assert memory.total > usable(DEVICES[DEVICES.index(size) - 1] * 1e9)
    assert smallest_device(Setup(full(0), 1).memory(LARGE)) is None


def test_what_trains_the_same_comes_first():
    setup = Setup(trial(**BIG_BATCH), 1)
    assert setup.memory(LLAMA).total > usable(40e9)
    assert proposed(LLAMA, setup, 40)[0] == ("trial.gradient_checkpointing: true",)


def test_where_one_change_is_not_enough_several_are_tried():
    setup = Setup(trial(**{**BIG_BATCH, "max_length": 8192}), 1)
    (first, *_) = proposed(LLAMA, setup, 24)
    assert "trial.gradient_checkpointing: true" in first
    assert len(first) > 1


def test_full_tuning_of_a_large_model_goes_over_nodes_or_to_adapters():
    setup = Setup(full(3).model_copy(update=BIG_BATCH), 8)
    over, fewer = proposed(LARGE, setup, 80, on_node=8)[-2:]
    assert over[0].startswith("ZeRO 3 over")
    assert "nodes" in over[0]
    assert fewer[0].startswith("LoRA")


def test_adapters_on_one_device_go_to_four_bits():
    changes = proposed(LARGE, Setup(trial(gradient_checkpointing=True, deepspeed={"zero_stage": 1}), 1), 80)
    assert any(one[0].startswith("QLoRA") for one in changes)


def test_what_is_proposed_follows_the_rules_of_the_trial():
    anchored = trial(constraint={"type": "l2_init"}, **BIG_BATCH)  # needs whole weights
    assert not any("ZeRO 3" in change for one in proposed(LARGE, Setup(anchored, 1), 80) for change in one)
    odd = trial(batch_size=6, micro_batch_size=1)
    counts = [change for one in proposed(LARGE, Setup(odd, 1), 141) for change in one if "workers" in change]
    assert all("workers: 2)" in change for change in counts)


@pytest.mark.parametrize("room", [1e9])
def test_nothing_is_proposed_where_nothing_fits(room):
    assert remedies(LARGE, Setup(full(3), 8), room) == []
