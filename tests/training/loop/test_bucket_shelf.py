"""Checkpoints in a bucket, of trainings whose machines share no folder: each machine is a folder here."""

import os
import threading

import pytest
from ranks import on_ranks
from resumption import run
from s3_server import BUCKET

from training.errors import CheckpointError, StorageError
from training.loop import bucket_shelf
from training.loop.checkpointing import Checkpointing
from training.storage.bucket import Bucket
from training.storage.checkpoints import Published, StoredCheckpoints, fetch_latest, published

pytestmark = pytest.mark.usefixtures("process")

LORA = {"tuning": {"type": "lora", "rank": 4, "dropout": 0.2}, "steps": 10, "micro_batch_size": 4, "log_every": 4}
TRIAL = {**LORA, "deepspeed": {"zero_stage": 2}}
PREFIX = "checkpoints/m-0"


@pytest.fixture
def address(s3, request):
    return f"s3://{BUCKET}/{request.node.name}"


def where(machine, address, attempt=1, run="sweep", **changes):
    store = StoredCheckpoints(Bucket(address), PREFIX, run, attempt)
    return Checkpointing(**{"directory": machine / "checkpoints/m-0", "every": 3, "store": store, **changes})


def steps_of(address):
    return [int(one.name.removeprefix("step-")) for one in published(Bucket(address), PREFIX)]


def test_another_machine_goes_on_as_if_nothing_had_happened(tmp_path, address):
    through = run(TRIAL)
    run(TRIAL, where(tmp_path / "one", address), stop=8)
    assert steps_of(address) == [3, 6]
    second = run(TRIAL, where(tmp_path / "other", address, attempt=2))
    assert second["steps"] == [8, 10]
    assert second["metrics"] == through["metrics"][1:]
    assert second["weights"] == through["weights"]
    assert steps_of(address) == [9, 10]
    whole = published(Bucket(address), PREFIX)
    keys = {entry.key for entry in Bucket(address).entries()}
    assert keys == {f"{PREFIX}/index.json", *(f"{PREFIX}/{one.folder}/{name}" for one in whole for name in one.files)}
    found = fetch_latest(Bucket(address), PREFIX, tmp_path / "reader")
    assert {file.name: file.stat().st_size for file in found.iterdir()} == whole[-1].files
    assert [path.name for path in (tmp_path / "other/checkpoints/m-0").glob("step-*")] == ["step-00000010"]


def test_a_machine_that_had_the_trial_before_fetches_what_became_of_it_elsewhere(tmp_path, address):
    through = run(TRIAL)
    run(TRIAL, where(tmp_path / "one", address), stop=4)
    run(TRIAL, where(tmp_path / "other", address, attempt=2), stop=8)
    third = run(TRIAL, where(tmp_path / "one", address, attempt=3))
    assert third["steps"] == [8, 10]
    assert third["weights"] == through["weights"]


def test_a_worker_whose_trial_was_given_to_another_publishes_nothing(tmp_path, address):
    def taken_over(step):
        if step == 4:
            StoredCheckpoints(Bucket(address), PREFIX, "sweep", 2).take()

    with pytest.raises(CheckpointError, match="given to another"):
        run(TRIAL, where(tmp_path / "one", address), meanwhile=taken_over)
    assert steps_of(address) == [3]
    with pytest.raises(CheckpointError, match="given to another"):
        run(TRIAL, where(tmp_path / "one", address))
    resumed = run(TRIAL, where(tmp_path / "other", address, run="resumed"))
    assert resumed["steps"] == [4, 8, 10], "of another run of the sweep any attempt is a later one"


def test_a_publication_that_was_given_up_and_yet_arrived_is_ones_own(s3, address):
    store = StoredCheckpoints(Bucket(address, patience=0.0), PREFIX, "sweep", 1)
    store.take()
    s3.losing = 1
    with pytest.raises(StorageError, match="cannot be reached"):
        store.publish(Published("step-00000003", "step-00000003-a", {}), 2)
    store.publish(Published("step-00000006", "step-00000006-b", {}), 2)
    assert steps_of(address)[-1] == 6
    StoredCheckpoints(Bucket(address), PREFIX, "sweep", 2).take()
    with pytest.raises(CheckpointError, match="given to another"):
        store.publish(Published("step-00000009", "step-00000009-c", {}), 2)


def test_what_was_removed_comes_back_through_nobody(tmp_path, address):
    def removed(step):
        if step == 4:
            bucket = Bucket(address)
            bucket.remove([entry.key for entry in bucket.entries(PREFIX)])

    with pytest.raises(CheckpointError, match="given to another"):
        run(TRIAL, where(tmp_path, address), meanwhile=removed)
    assert steps_of(address) == []


def test_a_damaged_checkpoint_is_put_aside_for_the_one_before(tmp_path, address):
    through, told = run(TRIAL), []
    run(TRIAL, where(tmp_path / "one", address), stop=8)
    bucket, newest = Bucket(address), published(Bucket(address), PREFIX)[-1]
    name, size = max(newest.files.items(), key=lambda item: item[1])
    bucket.write(f"{PREFIX}/{newest.folder}/{name}", os.urandom(size))
    second = run(TRIAL, where(tmp_path / "other", address, attempt=2, say=told.append))
    assert any("is damaged" in sentence and "step-00000003" in sentence for sentence in told)
    assert second["weights"] == through["weights"]


def test_an_outage_leaves_checkpoints_out_but_for_the_last(tmp_path, address, s3, monkeypatch):
    monkeypatch.setattr(bucket_shelf, "PATIENCE", 0.5)
    told = []

    def outage(step):
        s3.out = step >= 4
        if step == 8:  # the last one, after step 10, waits for the store
            threading.Timer(4.0, lambda: setattr(s3, "out", False)).start()

    through = run(TRIAL)
    found = run(TRIAL, where(tmp_path, address, say=told.append), meanwhile=outage)
    assert found["weights"] == through["weights"]
    assert steps_of(address) == [3, 10]
    left_out = [sentence for sentence in told if "is left out" in sentence]
    assert [sentence.split()[4] for sentence in left_out] == ["6", "9"]
    assert not list((tmp_path / "checkpoints/m-0").glob("partial-*"))


def test_an_index_that_is_damaged_is_refused_in_a_sentence(tmp_path, address):
    for content in (b"", b"{}", b'{"run": "a", "attempt": 1, "checkpoints": [{"name": "../x", "folder": "f"}]}'):
        Bucket(address).write(f"{PREFIX}/index.json", content)
        with pytest.raises(StorageError, match=r"index\.json is damaged"):
            run(TRIAL, where(tmp_path, address))


def on_machines_of_their_own(case):
    """What one rank does: its folder is no other rank's."""
    os.environ.update(case["environment"])
    from pathlib import Path

    from training.distributed import ranks

    folder = Path(case["folder"]) / f"machine-{ranks.rank() ^ case['swapped']}"
    return run(
        case["trial"], where(folder, case["address"], case["attempt"]) if case["address"] else None, case["stop"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 2, 3])
@pytest.mark.xdist_group("ranks")
def test_ranks_on_two_machines_have_all_of_a_checkpoint(tmp_path, address, s3, stage):
    case = {
        "environment": s3.environment(),
        "folder": str(tmp_path),
        "address": address,
        "attempt": 1,
        "swapped": 0,
        "stop": 8,
        "trial": {**LORA, "deepspeed": {"zero_stage": stage}},
    }
    through = on_ranks(2, on_machines_of_their_own, {**case, "address": None, "stop": None})
    on_ranks(2, on_machines_of_their_own, case)
    second = on_ranks(2, on_machines_of_their_own, {**case, "attempt": 2, "swapped": 1, "stop": None})
    assert [one["weights"] for one in second] == [one["weights"] for one in through]
    assert second[0]["steps"] == [8, 10]
