"""The average of the weights: by its formula, exact when resumed, measured at rungs and in the end, and exported."""

import pytest
import torch
from ranks import on_ranks
from resumption import run, run_cases
from tiny import tiny_llama
from trajectories import tuned_tiny

from training.evaluation.scores import Scores
from training.loop.averaging import WeightAverage
from training.loop.checkpointing import Checkpointing, latest
from training.loop.export import trained_model_of
from training.loop.train import Rungs, StepReport

pytestmark = pytest.mark.usefixtures("process")

DECAY = 0.7
LORA = {"tuning": {"type": "lora", "rank": 4}}
FULL = {"tuning": {"type": "full"}, "learning_rate": 1e-3}


def weights_of(model):
    return {name: one.detach().clone() for name, one in model.named_parameters() if one.requires_grad}


def train(changes, stage, rungs=(), where=None):
    """The weights that came out, and those that each rung was measured with."""
    seen = {}

    def measure(module, step):
        seen[step] = weights_of(module)
        return StepReport(step, Scores(), rung=True)

    settings = {**changes, "deepspeed": {"zero_stage": stage}}
    with tuned_tiny(settings, where, Rungs(frozenset(rungs), measure)) as made:
        return weights_of(made.model), seen


@pytest.mark.parametrize("changes", [LORA, FULL], ids=["lora", "full"])
@pytest.mark.parametrize("stage", [0, 2])
def test_it_is_what_its_formula_says_at_every_rung_and_in_the_end(changes, stage):
    steps = range(1, 7)
    _, plain = train(changes, stage, steps)
    final, averaged = train({**changes, "ema_decay": DECAY}, stage, steps)
    start, _ = train({**changes, "ema_decay": 1 - 1e-9}, stage)  # where it began
    expected = {name: one.double() for name, one in start.items()}
    for step in steps:
        expected = {name: DECAY * one + (1 - DECAY) * plain[step][name].double() for name, one in expected.items()}
        for name, one in expected.items():
            torch.testing.assert_close(averaged[step][name].double(), one, rtol=1e-5, atol=1e-7)
    for name, one in expected.items():
        torch.testing.assert_close(final[name].double(), one, rtol=1e-5, atol=1e-7)


def test_looking_at_it_leaves_the_training_where_it_was():
    often, _ = train({**LORA, "ema_decay": DECAY}, 0, range(1, 7))
    never, _ = train({**LORA, "ema_decay": DECAY}, 0)
    assert all(torch.equal(often[name], never[name]) for name in never)


def test_a_measurement_that_fails_puts_the_weights_back():
    module = torch.nn.Linear(2, 1)
    average = WeightAverage(module, DECAY)
    with torch.no_grad():
        module.weight.add_(1.0)
    before = module.weight.detach().clone()
    with average.in_place():
        assert not torch.equal(module.weight, before)
    with pytest.raises(RuntimeError, match="no room"), average.in_place():
        raise RuntimeError("no room")
    assert torch.equal(module.weight, before)


@pytest.mark.parametrize("stage", [0, 2])
def test_a_training_that_was_stopped_comes_to_the_same(tmp_path, stage):
    changes = {**LORA, "ema_decay": DECAY, "deepspeed": {"zero_stage": stage}}
    whole = run(changes)
    where = Checkpointing(tmp_path / "kept", every=2)
    run(changes, where, stop=4)
    again = run(changes, where)
    assert again["weights"] == whole["weights"]
    assert run(changes, where)["weights"] == whole["weights"], "after the last step too"


@pytest.mark.parametrize(("changes", "stage"), [(LORA, 0), (FULL, 2)], ids=["lora", "full"])
def test_the_checkpoint_is_exported_as_the_average(tmp_path, changes, stage):
    final, _ = train({**changes, "ema_decay": DECAY}, stage, where=Checkpointing(tmp_path / "kept", every=3))
    exported = weights_of(trained_model_of(latest(tmp_path / "kept"), tiny_llama()))
    assert all(torch.equal(exported[name], final[name]) for name in final)
    other, _ = train(changes, stage)
    assert not all(torch.equal(other[name], final[name]) for name in final)


@pytest.mark.xdist_group("ranks")
@pytest.mark.slow
def test_two_ranks_keep_the_same_average_and_one_goes_on_from_it(tmp_path):
    changes = {**LORA, "ema_decay": DECAY, "deepspeed": {"zero_stage": 2}}
    (alone,) = run_cases([{"changes": changes}])
    both = on_ranks(2, run_cases, [{"changes": changes}])
    assert both[0] == both[1]
    assert both[0][0]["weights"] == pytest.approx(alone["weights"], rel=1e-5)
    kept = {"directory": str(tmp_path / "kept"), "every": 2, "any_size": True}
    on_ranks(2, run_cases, [{"changes": changes, "where": kept, "stop": 4}])
    (resumed,) = run_cases([{"changes": changes, "where": kept}])
    assert resumed["weights"] == pytest.approx(alone["weights"], rel=1e-5)
