import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from benches import bench, write_files
from ranks import on_ranks
from resumption import run, run_cases
from tiny import tiny_llama

from training.config import TrialConfig
from training.errors import CheckpointError, DivergedError
from training.loop.checkpointing import Checkpointing, latest
from training.loop.export import trained_model_of
from training.loop.names import MANIFEST_FILE
from training.loop.train import TrialStopped

pytestmark = pytest.mark.usefixtures("process")

# Dropout, so that resuming needs the state of the random generators.
LORA = {"tuning": {"type": "lora", "rank": 4, "dropout": 0.2}, "steps": 10, "micro_batch_size": 4}
FULL = {"tuning": {"type": "full"}, "steps": 10, "learning_rate": 3e-3}


def at(changes, stage):
    return {**changes, "deepspeed": {"zero_stage": stage}}


def where(directory, **changes):
    return Checkpointing(**{"directory": directory, "every": 3, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        at(LORA, 0),
        at(LORA, 2),
        at(FULL, 2),
        at(FULL, 3),
        *({**at(LORA, stage), "precision": "bf16"} for stage in (0, 2)),
        {**at(FULL, 3), "precision": "bf16"},
    ],
    ids=["lora-0", "lora-2", "full-2", "full-3", "lora-0-bf16", "lora-2-bf16", "full-3-bf16"],
)
def test_going_on_gives_bit_for_bit_what_running_through_does(tmp_path, changes):
    changes = {**changes, "log_every": 4}
    through = run(changes)
    assert through["steps"] == [4, 8, 10]
    first = run(changes, where(tmp_path), stop=8)
    assert first["steps"] == [4, 8]
    assert latest(tmp_path) == tmp_path / "step-00000006"
    second = run(changes, where(tmp_path))
    # The report after step 8 averages steps 5 and 6, from before the checkpoint, and 7 and 8, from after it.
    assert second["steps"] == [8, 10]
    assert first["metrics"] + second["metrics"][1:] == through["metrics"]
    assert second["metrics"] == through["metrics"][1:]
    assert second["weights"] == through["weights"]


def test_a_finished_training_only_hands_out_its_model(tmp_path):
    first = run(at(LORA, 2), where(tmp_path))
    again = run(at(LORA, 2), where(tmp_path))
    assert again["steps"] == []
    assert again["weights"] == first["weights"]


@pytest.mark.parametrize("plan", [None, 1, 99])
def test_a_checkpoint_of_another_plan_of_batches_starts_over_and_says_so(tmp_path, plan):
    """Those of versions that wrote none grouped samples by length: the rest of their plan is no longer known."""
    changes, told = at(LORA, 2), []
    run(changes, where(tmp_path), stop=8)
    manifest = latest(tmp_path) / MANIFEST_FILE
    written = json.loads(manifest.read_text())
    written.pop("plan")
    manifest.write_text(json.dumps(written if plan is None else {**written, "plan": plan}))
    again = run(changes, where(tmp_path, say=told.append))
    assert again == run(changes)
    assert len(told) == 1
    assert "put samples into batches otherwise: this training starts over" in told[0]
    assert latest(tmp_path) == tmp_path / "step-00000010"


def test_the_newest_are_kept(tmp_path):
    run(at(LORA, 0), where(tmp_path, every=2, keep=3))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "latest",
        "step-00000006",
        "step-00000008",
        "step-00000010",
    ]
    assert latest(tmp_path).name == "step-00000010"


def test_a_checkpoint_of_an_earlier_version_knows_none_of_the_fields_that_came_since(tmp_path):
    first = run(at(LORA, 0), where(tmp_path), stop=8)
    file = latest(tmp_path) / MANIFEST_FILE
    manifest = json.loads(file.read_text())
    for field in ("epochs", "task_samples", "malicious_count"):
        del manifest["trial"][field]
    del manifest["trial"]["constraint"]["warmup_epochs"]
    file.write_text(json.dumps(manifest))
    assert first["steps"][-1] == 8
    assert run(at(LORA, 0), where(tmp_path))["steps"][0] > 6


def test_starting_over_removes_what_was_there(tmp_path):
    other = {**at(LORA, 0), "learning_rate": 1e-3}
    run(other, where(tmp_path))
    assert run(at(LORA, 0), where(tmp_path, resume=False)) == run(at(LORA, 0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 1e-4}, r"belongs to another trial \(learning_rate 0.01 there and 0.0001 here\): use its"),
        ({"tuning": {"type": "full"}}, r"belongs to another trial \(.*tuning\.rank 4 there and None here"),
        ({"deepspeed": {"zero_stage": 1}}, r"deepspeed\.zero_stage 2 there and 1 here"),
    ],
)
def test_another_trial_is_refused(tmp_path, changes, message):
    run(at(LORA, 2), where(tmp_path), stop=5)
    with pytest.raises(CheckpointError, match=message):
        run({**at(LORA, 2), **changes}, where(tmp_path))


def test_another_model_or_data_set_is_refused(tmp_path):
    run(at(LORA, 2), where(tmp_path, model="one"), stop=5)
    with pytest.raises(CheckpointError, match="belongs to another model: use the model it was made with"):
        run(at(LORA, 2), where(tmp_path, model="two"))
    _rewrite(tmp_path, data="of other samples")
    with pytest.raises(CheckpointError, match="belongs to other samples: use the data it was made with"):
        run(at(LORA, 2), where(tmp_path, model="one"))


def _rewrite(directory, **changes):
    manifest = latest(directory) / MANIFEST_FILE
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **changes}))


def test_another_number_of_workers_is_refused(tmp_path):
    run(at(LORA, 1), where(tmp_path), stop=5)
    _rewrite(tmp_path, world_size=2)
    with pytest.raises(
        CheckpointError, match=r"made by 2 workers and cannot be loaded by 1: use 2 workers \(only ZeRO stage 0 in fp32"
    ):
        run(at(LORA, 1), where(tmp_path))


@pytest.fixture(scope="module")
def through(process):
    """The training that nothing happened to."""
    return run(at(LORA, 2))


@pytest.mark.parametrize("damage", ["manifest", "weights", "absent", "flipped"])
def test_a_damaged_checkpoint_with_none_before_it_costs_the_steps_until_then(tmp_path, damage, through):
    told = []
    run(at(LORA, 2), where(tmp_path), stop=5)
    path = latest(tmp_path)
    if damage == "manifest":
        (path / MANIFEST_FILE).write_text("{")
    elif damage == "weights":
        (path / "mp_rank_00_model_states.pt").write_bytes(b"half a file")
    elif damage == "flipped":
        whole = (path / "mp_rank_00_model_states.pt").read_bytes()
        (path / "mp_rank_00_model_states.pt").write_bytes(whole[:2] + bytes(len(whole) - 2))
    else:
        (path / "mp_rank_00_model_states.pt").unlink()
    resumed = run(at(LORA, 2), where(tmp_path, say=told.append))
    assert resumed == through
    (said,) = told
    assert "step-00000003 is damaged (" in said
    assert said.endswith("and there is none before it: this training starts over from its first step")
    assert (tmp_path / "damaged-step-00000003").is_dir(), "whoever wants to know why finds it"


def spoil(directory, damage):
    """Damage the newest checkpoint in ``directory``."""
    path = latest(directory)
    weights = path / "mp_rank_00_model_states.pt"
    if damage == "manifest":
        (path / MANIFEST_FILE).write_text("[]")
    elif damage == "weights":
        weights.write_bytes(b"half a file")
    elif damage == "bit":
        content = bytearray(weights.read_bytes())
        content[len(content) // 2] ^= 1  # in a tensor: without the check sum nobody would notice
        weights.write_bytes(content)
    elif damage == "absent":
        weights.unlink()
    else:
        (directory / "latest").write_bytes(b"\xff\x00step-0000000")


@pytest.mark.parametrize("damage", ["manifest", "weights", "absent", "bit", "pointer"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, damage, through):
    changes, told = at(LORA, 2), []
    run(changes, where(tmp_path, every=2), stop=7)
    spoil(tmp_path, damage)
    resumed = run(changes, where(tmp_path, every=2, say=told.append))
    first = 7 if damage == "pointer" else 5
    assert resumed["steps"] == list(range(first, 11))
    assert resumed["metrics"] == through["metrics"][first - 1 :]
    assert resumed["weights"] == through["weights"]
    if damage != "pointer":
        (said,) = told
        assert "step-00000006 is damaged (" in said
        assert said.endswith("this training goes on from the one before, step-00000004")


class Code:
    """What runs when it is unpickled."""

    def __init__(self, file):
        self.file = str(file)

    def __reduce__(self):
        return open, (self.file, "w")


def test_a_checkpoint_that_holds_code_runs_none_of_it(tmp_path):
    run(at(LORA, 2), where(tmp_path / "trial"), stop=5)
    path = latest(tmp_path / "trial")
    for weights in path.glob("*.pt"):
        stored = torch.load(weights, weights_only=False)
        torch.save({**stored, "more": Code(tmp_path / "ran")}, weights)
    files = {file.name: file.stat().st_size for file in path.glob("*.pt")}
    _rewrite(tmp_path / "trial", files=files)
    with pytest.raises(CheckpointError, match=r"cannot be read \(.*Weights only load failed"):
        run(at(LORA, 2), where(tmp_path / "trial"))
    with pytest.raises(CheckpointError, match=r"cannot be read \(.*Weights only load failed"):
        trained_model_of(path, tiny_llama())
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("moment", ["half a file is written", "latest has not moved"])
def test_a_process_killed_while_saving_leaves_the_checkpoint_before(tmp_path, moment):
    argument = {"changes": at(LORA, 2), "where": {"directory": str(tmp_path), "every": 2}}
    script = Path(__file__).parents[1] / "resumption.py"
    root = Path(__file__).parents[3]
    killed = subprocess.run(
        [sys.executable, str(script), moment, json.dumps(argument)], cwd=root, env=_environment(root), check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert latest(tmp_path) == tmp_path / "step-00000002"
    assert {path.name for path in tmp_path.iterdir()} & {"partial-step-00000004", "step-00000004"}
    through, resumed = run(at(LORA, 2)), run(at(LORA, 2), where(tmp_path, every=2))
    assert resumed["steps"] == through["steps"][2:]
    assert resumed["metrics"] == through["metrics"][2:]
    assert resumed["weights"] == through["weights"]
    assert [path.name for path in sorted(tmp_path.glob("*step-*"))] == ["step-00000008", "step-00000010"]


def _environment(root):
    import os

    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return {**kept, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}


def test_weights_that_are_not_finite_replace_no_checkpoint(tmp_path):
    # The learning rate rises until the weights are beyond float32, after the first checkpoints.
    changes = {**FULL, "learning_rate": 1e39, "lr_warmup_steps": 10**37, "steps": 10, "log_every": 100}
    with pytest.raises(DivergedError) as diverged:
        run({**changes, "lr_schedule": "constant", "lr_warmup_steps": 0}, where(tmp_path, every=1))
    message = str(diverged.value)
    assert f"the last checkpoint is {tmp_path / 'step-00000001'}:" in message
    assert "not finite at step 2" in message
    assert latest(tmp_path).name == "step-00000001"


@pytest.fixture
def directory(tmp_path, chat_tokenizer):
    write_files(tmp_path, chat_tokenizer)
    return tmp_path


def test_a_restarted_workbench_continues_its_trial(directory):
    settings = {"steps": 6, "batch_size": 4, "learning_rate": 1e-2, "log_every": 1, "checkpoint_every": 2}
    config = TrialConfig.model_validate({**settings, "tuning": {"type": "lora", "rank": 2}})
    through, seen = bench(directory).run(config, lambda _report: False), []
    with pytest.raises(TrialStopped):
        bench(directory).run(config, lambda report: report.step == 5, checkpoint=directory / "checkpoints")
    restarted = bench(directory).run(
        config, lambda report: bool(seen.append(report.step)), checkpoint=directory / "checkpoints"
    )
    assert seen == [5, 6]
    assert restarted.report == through.report


def _two_ranks(cases, tmp_path):
    """Run through, stop, and go on, on two ranks."""
    arguments = []
    for number, changes in enumerate(cases):
        place = {"directory": str(tmp_path / str(number)), "every": 3}
        arguments += [
            {"changes": changes},
            {"changes": changes, "where": place, "stop": 8},
            {"changes": changes, "where": place},
        ]
    for rank in on_ranks(2, run_cases, arguments):
        for number in range(len(cases)):
            through, _, second = rank[3 * number : 3 * number + 3]
            assert second["steps"] == through["steps"][6:], cases[number]
            assert second["metrics"] == through["metrics"][6:], cases[number]
            assert second["weights"] == through["weights"], cases[number]


@pytest.mark.xdist_group("ranks")
@pytest.mark.slow
def test_two_ranks_go_on_bit_for_bit(tmp_path):
    _two_ranks([at(LORA, stage) for stage in (0, 1, 2, 3)] + [at(FULL, stage) for stage in (0, 2, 3)], tmp_path)


@pytest.mark.xdist_group("ranks")
@pytest.mark.slow
@pytest.mark.parametrize("damage", ["weights", "bit"])
def test_two_ranks_agree_on_the_checkpoint_before(tmp_path, damage):
    argument = {"changes": at(FULL, 2), "where": {"directory": str(tmp_path), "every": 2}}
    on_ranks(2, run_cases, [{**argument, "stop": 7}])
    spoil(tmp_path, damage)
    for (resumed,) in on_ranks(2, run_cases, [argument]):
        assert resumed["steps"] == [5, 6, 7, 8, 9, 10]


@pytest.mark.xdist_group("ranks")
@pytest.mark.slow
def test_only_stage_zero_goes_on_with_another_number_of_workers(tmp_path):
    plain = {**LORA, "tuning": {"type": "lora", "rank": 4}}  # dropout differs between numbers of workers
    arguments = [
        {"changes": at(plain, stage), "where": {"directory": str(tmp_path / str(stage)), "every": 3}, "stop": 5}
        for stage in (0, 2)
    ]
    on_ranks(2, run_cases, arguments)
    with pytest.raises(CheckpointError, match="made by 2 workers and cannot be loaded by 1"):
        run(at(plain, 2), where(tmp_path / "2"))
    through, alone = run(at(plain, 0)), run(at(plain, 0), where(tmp_path / "0"))
    assert alone["steps"] == [4, 5, 6, 7, 8, 9, 10]
    losses = [[one["train/loss"] for one in found["metrics"]] for found in (alone, through)]
    assert losses[0] == pytest.approx(losses[1][3:], rel=1e-4)


@pytest.mark.xdist_group("ranks")
@pytest.mark.slow
def test_two_ranks_stop_alike_where_the_loss_is_not_finite(tmp_path):
    changes = {**at(FULL, 2), "learning_rate": 1e39, "lr_warmup_steps": 0, "log_every": 5}
    place = {"directory": str(tmp_path / "checkpoints"), "every": 1}
    first, second = on_ranks(2, run_cases, [{"changes": changes, "where": place}])
    assert first == second
    assert "not finite at step 2" in first[0]["error"]
    assert "step-00000001" in first[0]["error"]
    assert "on samples task" in first[0]["error"] or "on samples safety" in first[0]["error"]
