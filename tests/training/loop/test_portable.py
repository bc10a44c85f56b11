"""A training that goes on in a group of another size, with what the optimizer knew: against one that nothing befell."""

import pytest
from ranks import on_ranks
from resumption import run_cases

LORA = {"tuning": {"type": "lora", "rank": 4, "dropout": 0.0}}
FULL = {"tuning": {"type": "full"}, "learning_rate": 3e-3}
BF16 = {"precision": "bf16"}
SETTINGS = {"steps": 8, "log_every": 2, "batch_size": 8, "micro_batch_size": 2}


def case(changes, stage, directory=None, stop=None):
    where = None if directory is None else {"directory": str(directory), "every": 4, "any_size": True}
    return {"changes": {**SETTINGS, **changes, "deepspeed": {"zero_stage": stage}}, "where": where, "stop": stop}


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("changes", "stage"),
    [
        slow(LORA, 0),
        slow(LORA, 1),
        (LORA, 2),
        slow(LORA, 3),
        slow(FULL, 2),
        slow(FULL, 3),
        slow({**FULL, **BF16}, 1),
        slow({**LORA, **BF16}, 2),
        slow({**FULL, **BF16}, 3),
    ],
    ids=["lora-0", "lora-1", "lora-2", "lora-3", "full-2", "full-3", "full-1-bf16", "lora-2-bf16", "full-3-bf16"],
)
def test_a_smaller_and_a_larger_group_go_on_as_if_nothing_had_happened(tmp_path, changes, stage):
    (through,), _ = on_ranks(2, run_cases, [case(changes, stage)])
    shrinks, grows = tmp_path / "shrinks", tmp_path / "grows"
    on_ranks(2, run_cases, [case(changes, stage, shrinks, stop=6)])
    ((alone,),) = on_ranks(1, run_cases, [case(changes, stage, shrinks)])
    on_ranks(1, run_cases, [case(changes, stage, grows, stop=6)])
    (joined,), _ = on_ranks(2, run_cases, [case(changes, stage, grows)])
    near = 1e-1 if changes.get("precision") == "bf16" else 2e-4  # sums in another order
    for resumed in (alone, joined):
        assert resumed.get("steps") == [6, 8], f"{resumed}, from the checkpoint after step 4"
        for made, expected in zip(resumed["metrics"], through["metrics"][2:], strict=True):
            assert made == pytest.approx(expected, rel=near, abs=1e-6)
        assert resumed["weights"] == pytest.approx(through["weights"], rel=near, abs=1e-5)
