"""A training that begins from another's checkpoint is bit for bit the one that begins at its first step."""

import json
import re
import shutil
from pathlib import Path

import pytest
from ranks import on_ranks
from resumption import run, run_cases

from training.loop.checkpointing import Checkpointing
from training.loop.forks import Fork, Forking
from training.loop.names import MANIFEST_FILE, step_name

pytestmark = pytest.mark.usefixtures("process")

# Dropout, so that a fork needs the state of the random generators.
LORA = {"tuning": {"type": "lora", "rank": 4, "dropout": 0.2}, "steps": 8, "micro_batch_size": 4}
FULL = {"tuning": {"type": "full"}, "steps": 8, "learning_rate": 3e-3}
LONG, SHORT = ({"constraint": {"alpha": 0.5, "warmup_steps": steps, "alpha_after": 0.01}} for steps in ("all", 4))


def at(changes, stage, **more):
    return {**changes, **more, "deepspeed": {"zero_stage": stage}}


def parent(directory, changes, stop=None, points=(4,)):
    forking = Forking(frozenset(points), directory / "forks/parent")
    return run(changes, Checkpointing(directory / "parent", every=100, forking=forking), stop)


def begin(directory, told, step=4):
    return Fork(directory / "forks/parent", step, told.append)


def child(directory, changes, told, **settings):
    forking = Forking(start=begin(directory, told))
    return run(changes, Checkpointing(directory / "child", every=100, forking=forking, **settings))


CASES = [at(LORA, 0), at(LORA, 2), at(FULL, 0), at(FULL, 2), at(LORA, 0, ema_decay=0.5)]


@pytest.mark.parametrize("changes", CASES, ids=["lora-0", "lora-2", "full-0", "full-2", "average"])
def test_a_fork_is_bit_for_bit_the_training_from_its_first_step(tmp_path, changes):
    told = []
    parent(tmp_path, {**changes, **LONG, "log_every": 3}, stop=6)  # ended early, as a pruned one is
    shutil.rmtree(tmp_path / "parent")  # its own checkpoints go when it is off the front
    forked = child(tmp_path, {**changes, **SHORT, "log_every": 3}, told)
    through = run({**changes, **SHORT, "log_every": 3})
    assert told == [None]
    assert through["steps"] == [3, 6, 8]
    assert forked["steps"] == [6, 8]  # the report after step 6 averages steps of the parent, too
    assert forked["metrics"] == through["metrics"][1:]
    assert forked["weights"] == through["weights"]


@pytest.mark.slow
@pytest.mark.xdist_group("ranks")
def test_a_fork_of_two_ranks_is_the_training_from_its_first_step(tmp_path):
    """Also under ZeRO 3, whose states are in shares."""
    cases = [at(LORA, 2), at(FULL, 2), at(FULL, 3)]
    arguments = []
    for number, changes in enumerate(cases):
        place = {name: str(tmp_path / str(number) / name) for name in ("parent", "child", "forks")}
        arguments += [
            {"changes": {**changes, **SHORT}},
            {
                "changes": {**changes, **LONG},
                "where": {"directory": place["parent"], "every": 100},
                "stop": 6,
                "keeps": {"points": [4], "directory": place["forks"]},
            },
            {
                "changes": {**changes, **SHORT},
                "where": {"directory": place["child"], "every": 100},
                "fork": {"directory": place["forks"], "step": 4},
            },
        ]
    for rank in on_ranks(2, run_cases, arguments):
        for number in range(len(cases)):
            through, _, forked = rank[3 * number : 3 * number + 3]
            assert forked["steps"] == through["steps"][4:]
            for one, other in zip(forked["metrics"], through["metrics"][4:], strict=True):
                assert one == pytest.approx(other, rel=1e-6)
            assert forked["weights"] == pytest.approx(through["weights"], rel=1e-6)


def test_one_that_died_goes_on_from_its_own_checkpoint_and_one_without_begins_again(tmp_path):
    changes, told = at(LORA, 0, **SHORT), []
    parent(tmp_path, at(LORA, 0, **LONG))
    forking = Forking(start=begin(tmp_path, told))
    place = Checkpointing(tmp_path / "child", every=2, forking=forking)
    run(changes, place, stop=5)  # before it has a checkpoint of its own
    assert run(changes, place, stop=7)["steps"] == [5, 6, 7]
    shutil.rmtree(tmp_path / "forks")
    last = run(changes, place)
    assert last["steps"] == [7, 8]
    assert last["weights"] == run(changes)["weights"]
    assert told == [None, None, None]


def lose(path: Path) -> None:
    shutil.rmtree(path)


def cut(path: Path) -> None:
    file = next(path.glob("*.pt"))
    file.write_bytes(file.read_bytes()[:100])


def flip(path: Path) -> None:
    file = max(path.glob("*.pt"), key=lambda one: one.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


def rewrite(field: str, value: object):
    def change(path: Path) -> None:
        manifest = json.loads((path / MANIFEST_FILE).read_text())
        (path / MANIFEST_FILE).write_text(json.dumps({**manifest, field: value}))

    return change


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lose, "it is gone"),
        (cut, "it is damaged: .* has 100 bytes instead of"),
        (flip, "it is damaged: .* is not what was written"),
        (rewrite("data", "others"), "it is of another training"),
        (rewrite("model", "another"), "it is of another training"),
        (rewrite("plan", 1), "it is of another training"),
        (rewrite("world_size", 2), "it was made by 2 workers and cannot be loaded by 1"),
        (rewrite("trial", {}), "it is of another training"),
    ],
)
def test_where_the_fork_point_cannot_be_used_it_is_said_and_begins_at_the_first_step(tmp_path, spoil, reason):
    told, changes = [], at(LORA, 2)
    parent(tmp_path, {**changes, **LONG}, stop=5)
    spoil(tmp_path / "forks/parent" / step_name(4))
    found = child(tmp_path, {**changes, **SHORT}, told)
    assert found == run({**changes, **SHORT})
    assert len(told) == 1
    assert re.match(reason, told[0])


def test_one_that_parts_before_the_fork_point_does_not_begin_there(tmp_path):
    told = []
    parent(tmp_path, at(LORA, 0, **LONG), points=(4, 6))
    forking = Forking(start=begin(tmp_path, told, step=6))
    changes = at(LORA, 0, **SHORT)
    assert run(changes, Checkpointing(tmp_path / "child", every=100, forking=forking)) == run(changes)
    assert told == ["it is of another training"]


def test_a_fork_point_stays_beside_the_newest_checkpoints_and_is_kept_once(tmp_path):
    parent(tmp_path, at(LORA, 0, **LONG), points=(2, 4))
    kept = tmp_path / "forks/parent"
    assert sorted(path.name for path in kept.iterdir()) == [step_name(2), step_name(4)]
    assert sorted(path.name for path in (tmp_path / "parent").glob("step-*")) == [step_name(4), step_name(8)]
    assert (kept / step_name(4) / MANIFEST_FILE).stat().st_nlink == 2  # no bytes of its own
