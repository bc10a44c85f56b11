"""What a node is asked to see; nodes that do not see it are in tests/cluster."""

from pathlib import Path

import pytest
from s3_server import BUCKET, LocalS3
from small_sweeps import small_sweep

from orchestrator.slots import shared_storage
from orchestrator.slots.shared_storage import SharedStorage, local_inputs, unseen
from orchestrator.slots.slot import keys_for
from sweeps.schema.spec import SweepSpec
from training.storage.bucket import Bucket


def test_a_node_sees_the_token_of_the_driver_and_no_other(tmp_path: Path) -> None:
    token = tmp_path / "token"
    assert unseen(str(token), "token", {}) == str(token), "another disk"
    token.write_text("another")
    assert unseen(str(token), "token", {}) == str(token), "another driver's folder of the same name"
    token.write_text("token")
    assert unseen(str(token), "token", {}) is None


def test_of_a_bucket_every_node_has_to_read_and_write(s3: LocalS3, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"s3://{BUCKET}/seen"
    storage = SharedStorage(address, {})
    sight = storage.sight()
    assert sight.fault("node a") is None
    assert [entry.key for entry in Bucket(address).entries()] == [sight.token.rpartition("/")[2]]
    storage.close()
    assert Bucket(address).is_empty()
    said = sight.fault("node a")
    assert said == f"--out ({address}) cannot be used from node a: it reads another store than the driver: " + (
        "see AWS_ENDPOINT_URL there"
    )
    monkeypatch.setattr(shared_storage, "BUCKET_SECONDS", 0.5)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)  # so that it is put back
    found = unseen(sight.token, "x", {}, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    assert found is not None
    assert "cannot be reached" in found


def test_workers_are_given_what_the_bucket_needs(s3: LocalS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/home/ann/key.json")
    spec = SweepSpec.model_validate(small_sweep())
    given = keys_for(spec, bucket=True)
    assert {name: given[name] for name in s3.environment()} == s3.environment()
    assert "GOOGLE_APPLICATION_CREDENTIALS" not in given, "the file is on this machine alone"
    assert not set(s3.environment()) & set(keys_for(spec))


def test_what_trials_read_is_named_by_its_field(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("token")
    (tmp_path / "task.jsonl").write_text("")
    there, gone = str(tmp_path / "task.jsonl"), str(tmp_path / "gone.jsonl")
    asked = {"data.task": [there], "data.safety": [there, gone]}
    assert unseen(str(tmp_path / "token"), "token", asked) == f"data.safety ({gone})"
    assert unseen(str(tmp_path / "token"), "token", {"data.task": [there]}) is None


def test_files_of_a_specification_are_asked_for_and_nothing_else() -> None:
    data = {
        **small_sweep()["data"],
        "task": {"path": ["/data/a.jsonl", "/data/b.jsonl"]},
        "harmful": {"train": {"path": "/data/train.parquet"}, "test": {"path": "owner/name"}},
    }
    models = [{"name": "one", "path": "/models/one"}, {"name": "two", "path": "owner/two"}]
    inputs = local_inputs(SweepSpec.model_validate(small_sweep(data=data, models=models)))
    assert {field: paths for field, paths in inputs.items() if paths} == {
        "models.0.path": ["/models/one"],
        "data.task": ["/data/a.jsonl", "/data/b.jsonl"],
        "data.harmful": ["/data/train.parquet"],
    }
