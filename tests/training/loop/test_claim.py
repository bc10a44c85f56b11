"""Two workers that train one trial, since the first was held to be lost: what it writes must change nothing."""

import pytest
from resumption import run

from training.errors import CheckpointError
from training.loop.checkpointing import Checkpointing, latest
from training.loop.claim import Claim

TRIAL = {"tuning": {"type": "lora", "rank": 4}, "steps": 10, "log_every": 1, "deepspeed": {"zero_stage": 2}}
FIRST, SECOND = Claim("sweep", 1), Claim("sweep", 2)


def where(directory, claim):
    return Checkpointing(directory, every=3, claim=claim)


@pytest.mark.usefixtures("process")
def test_a_worker_whose_trial_was_given_to_another_publishes_no_checkpoint(tmp_path):
    through = run(TRIAL)

    def taken_over(step):
        if step == 5:
            SECOND.take(tmp_path)
            (tmp_path / "partial-2-step-00000006").mkdir()  # the other one is just writing it

    with pytest.raises(CheckpointError, match="given to another"):
        run(TRIAL, where(tmp_path, FIRST), meanwhile=taken_over)
    assert latest(tmp_path) == tmp_path / "step-00000003"
    assert [file.name for file in tmp_path.glob("partial-*")] == ["partial-2-step-00000006"]
    second = run(TRIAL, where(tmp_path, SECOND))
    assert second["steps"] == through["steps"][3:], "it goes on from the last that counts"
    assert second["weights"] == through["weights"]
    with pytest.raises(CheckpointError, match="given to another"):
        run(TRIAL, where(tmp_path, FIRST))
    assert latest(tmp_path) == tmp_path / "step-00000010"


def test_only_a_later_attempt_takes_a_folder_over(tmp_path):
    FIRST.take(tmp_path)
    FIRST.check(tmp_path)
    FIRST.take(tmp_path)  # a worker that was restarted over the same attempt
    SECOND.take(tmp_path)
    SECOND.check(tmp_path)
    for lost in (FIRST.check, FIRST.take):
        with pytest.raises(CheckpointError, match="given to another"):
            lost(tmp_path)
    SECOND.check(tmp_path)


def test_a_resumed_sweep_takes_over_what_the_one_before_had(tmp_path):
    Claim("sweep", 12).take(tmp_path)
    again = Claim("resumed", 1)
    again.take(tmp_path)
    again.check(tmp_path)


def test_a_folder_that_was_removed_is_made_no_second_time(tmp_path):
    """The trial ended elsewhere, and nobody wants its checkpoints."""
    FIRST.take(tmp_path / "m-0")
    (tmp_path / "m-0" / "claim").unlink()
    (tmp_path / "m-0").rmdir()
    with pytest.raises(CheckpointError, match="given to another"):
        FIRST.check(tmp_path / "m-0")
    assert not (tmp_path / "m-0").exists()
