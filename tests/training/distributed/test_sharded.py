"""A base model in shards on two ranks: what one rank with the whole model trains, measures and saves."""

import time

import pytest
import torch
from benches import in_shards, write_files
from ranks import on_ranks
from safetensors.torch import load_file
from tiny import held_as, random_direction, random_samples, references_of, tiny_llama, weights_of
from trajectories import trial

from training.config import TrialConfig
from training.constraints import build_constraint
from training.distributed import ranks
from training.distributed.gathering import gather_for_forward, stop_gathering
from training.distributed.sharding import sharded, whole_shape
from training.loop.train import TrainingSet
from training.loop.tuning import tuned
from training.models.loading import model_fingerprint

pytestmark = pytest.mark.usefixtures("process")
LORA = {
    "steps": 4,
    "batch_size": 4,
    "learning_rate": 1e-2,
    "log_every": 1,
    "safety_share": 0.25,
    "tuning": {"type": "lora", "rank": 2},
    "deepspeed": {"zero_stage": 3},
}
FULL = {**LORA, "learning_rate": 1e-3, "tuning": {"type": "full"}}


def whole(settings):
    return {**settings, "deepspeed": {"zero_stage": 0}}


def close(found, expected):
    assert found.keys() == expected.keys()
    # float32 sums in another order, carried on by four steps of AdamW.
    assert found == pytest.approx(expected, rel=2e-3, abs=2e-4, nan_ok=True)


@pytest.mark.xdist_group("ranks")
def test_two_ranks_with_half_a_model_each_find_what_one_with_the_whole_does(tmp_path, chat_tokenizer):
    write_files(tmp_path, chat_tokenizer)
    trials = [FULL, LORA]
    where = {"directory": str(tmp_path)}
    alone = in_shards({**where, "out": "one", "trials": [whole(one) for one in trials]})
    first, second = on_ranks(2, in_shards, {**where, "out": "two", "trials": trials})
    assert first == second
    for found, expected in zip(first[:2], alone[:2], strict=True):
        assert found["losses"] == pytest.approx(expected["losses"], rel=1e-4)
        assert found["answers"] == expected["answers"]
        for one, other in zip(found["rungs"], expected["rungs"], strict=True):
            close(one, other)
    assert first[0]["losses"] != first[1]["losses"]
    base, expected = first[2], alone[2]
    close(base["metrics"], expected["metrics"])
    assert base["fingerprint"] == expected["fingerprint"]
    torch.testing.assert_close(torch.tensor(base["direction"]), torch.tensor(expected["direction"]))
    assert base["elements"] == pytest.approx(expected["elements"] / 2, rel=0.01)
    for number, file in enumerate(["model.safetensors", "adapter_model.safetensors"]):
        found, expected = (load_file(tmp_path / out / f"saved-{number}" / file) for out in ("two", "one"))
        assert found.keys() == expected.keys()
        for name, weight in expected.items():
            torch.testing.assert_close(found[name], weight, rtol=1e-3, atol=1e-5)


def _no_room_on_the_second(_argument):
    """Trains until memory runs out on the second rank in the middle of a forward pass, and says how long that took."""
    config, samples, direction = trial(deepspeed={"zero_stage": 3}), random_samples(60), random_direction()
    model = held_as(config, tiny_llama())
    data = TrainingSet(samples, 40, references_of(model, samples, direction))
    constraint = build_constraint(config.constraint, direction, torch.device("cpu"))
    passes, failed = [], []

    def no_room(*_given):
        passes.append(1)
        if ranks.rank() == 1 and len(passes) == 3:
            failed.append(time.monotonic())
            raise torch.OutOfMemoryError("CUDA out of memory")

    model.model.layers[1].mlp.register_forward_pre_hook(no_room)
    with pytest.raises(torch.OutOfMemoryError), tuned(model, config, data, constraint, lambda _report: False):
        pass
    raise AssertionError(f"left after {time.monotonic() - failed[0]:.0f} s")


@pytest.mark.slow
def test_a_rank_without_room_in_training_waits_for_nobody():
    with pytest.raises(AssertionError, match=r"(?s)rank 1 failed.*left after \d s"):
        on_ranks(2, _no_room_on_the_second, alone=True)


def test_a_sharded_model_is_the_whole_one_in_parts():
    model, expected = tiny_llama(), weights_of(tiny_llama())
    fingerprint = model_fingerprint(model)
    held_as(TrialConfig(deepspeed={"zero_stage": 3}), model)
    assert sharded(model)
    assert not sharded(tiny_llama())
    assert {tuple(parameter.shape) for parameter in model.parameters()} == {(0,)}
    assert [whole_shape(parameter) for parameter in model.parameters()] == [one.shape for one in expected.values()]
    assert model_fingerprint(model) == fingerprint
    found = weights_of(model)
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())
    ids = torch.arange(3, 43).view(2, 20)
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, tiny_llama()(input_ids=ids).logits)


def test_nothing_of_deepspeed_keeps_a_model_that_is_let_go():
    """Fails too when DeepSpeed moves the private table that would keep it."""
    import gc
    import weakref

    model = held_as(TrialConfig(deepspeed={"zero_stage": 3}), tiny_llama())
    with torch.no_grad():
        model(input_ids=torch.arange(3, 23)[None])
    gone = weakref.ref(model.model.layers[0].mlp.up_proj)
    del model
    gc.collect()
    assert gone() is None


def test_a_trial_keeps_neither_adapters_nor_optimizer_in_memory():
    import gc
    import weakref

    config, samples, direction = trial(deepspeed={"zero_stage": 3}), random_samples(60), random_direction()
    model = held_as(config, tiny_llama())
    data = TrainingSet(samples, 40, references_of(model, samples, direction))
    constraint = build_constraint(config.constraint, direction, torch.device("cpu"))
    with tuned(model, config, data, constraint, lambda _report: False) as (trained, _):
        adapter = weakref.ref(trained.base_model.model.model.layers[0].mlp.up_proj.lora_A["default"].weight)
        assert sharded(trained.base_model.model.model.layers[0].mlp.up_proj.lora_A)
        kinds = {type(one).__name__ for one in gc.get_objects()}
        assert "DeepSpeedZeroOptimizer_Stage3" not in kinds, "its states take memory while the model is measured"
    del trained
    gc.collect()
    assert adapter() is None


def test_hooks_are_there_once_however_often_they_are_put_there():
    config = {"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": 3}}

    def hooks():
        return [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules()]

    model = tiny_llama()
    gather_for_forward(model, config)
    once = hooks()
    assert min(once) > 0
    stop_gathering(model)
    assert max(hooks()) == 0
    stop_gathering(model)
    gather_for_forward(model, config)
    assert hooks() == once
