"""What a node is asked to see; nodes that do not see it are in tests/cluster."""

from pathlib import Path

from small_sweeps import small_sweep

from orchestrator.slots.shared_storage import local_inputs, unseen
from sweeps.schema.spec import SweepSpec


def test_a_node_sees_the_token_of_the_driver_and_no_other(tmp_path: Path) -> None:
    token = tmp_path / "token"
    assert unseen(str(token), "token", {}) == str(token), "another disk"
    token.write_text("another")
    assert unseen(str(token), "token", {}) == str(token), "another driver's folder of the same name"
    token.write_text("token")
    assert unseen(str(token), "token", {}) is None


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
