"""A true sweep with scaled models: from the slot to front, answers, MLflow and the exported weights."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from small_sweeps import Cluster, Run, small_sweep

from orchestrator.commands.export import export_trial
from orchestrator.commands.status import sweep_status
from orchestrator.record.answers import AnswerFolder
from orchestrator.record.journal import read_journal, records

pytestmark = [pytest.mark.xdist_group("sweeps"), pytest.mark.slow]


@pytest.fixture(scope="module")
def scaled(start_sweep: Callable[..., Run], cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trials, two seeds of each near the front, one scale."""
    few = {"harmful": 12, "harmless": 6, "borderline": 6, "task": 12, "max_new_tokens": 6, "scales": [0.5, 1.0]}
    trial = {**small_sweep()["trial"], "steps": 6, "log_every": 2, "deepspeed": {"zero_stage": 0}}
    search = {"constraint": {"alpha": {"type": "loguniform", "low": 0.01, "high": 1.0}}}
    spec = small_sweep(evaluation=few, trial=trial, search=search, trials=2, seeds={"replicates_on_front": 2})
    run = start_sweep(tmp_path_factory.mktemp("scaled"), spec, *cluster.join, new_store=True)
    code, output = run.finish()
    assert code == 0, output
    return run.directory


def test_every_training_leaves_its_scaled_model_and_none_of_its_own_is_trained(scaled: Path) -> None:
    events = read_journal(scaled / "journal.jsonl")
    started = [event["id"] for event in events if event["event"] == "trial_started"]
    assert not [name for name in started if "@" in name]
    found = {record.id: record for record in records(events)}
    trained = [record for record in found.values() if record.trial is not None and record.scaled_of is None]
    assert {"reference", "trial"} <= {record.kind for record in trained}
    looked = {event["id"] for event in events if event["event"] == "trial_scaled"}
    assert looked >= {record.id for record in trained if record.kind != "replicate"}
    for record in found.values():
        if record.scaled_of is not None:
            own = found[record.scaled_of]
            assert (record.trial, record.params) == (own.trial, own.params)
            assert record.report.metrics["utility/loss"] != own.report.metrics["utility/loss"]


def test_front_answers_and_status_know_them(scaled: Path) -> None:
    (body,) = json.loads((scaled / "front.json").read_text())["models"].values()
    assert set(body["scaled_references"]) == {"ift@0.5", "ift_safety@0.5"}
    points = [trial for trial in body["trials"] if trial.get("scaled_of")]
    assert all(trial["params"]["scale"] == 0.5 for trial in points)
    answers = AnswerFolder(scaled / "answers")
    recorded = records(read_journal(scaled / "journal.jsonl"))
    assert {record.id for record in recorded} == set(answers)
    counts = sweep_status(scaled).counts
    assert counts["finished"] == sum(record.scaled_of is None for record in recorded) == counts["planned"]


def test_mlflow_has_a_run_of_each(scaled: Path) -> None:
    client = MlflowClient(f"sqlite:///{scaled.parent}/mlflow.db")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    found = {run.data.tags["procon.trial"]: run for run in runs if "procon.trial" in run.data.tags}
    recorded = {record.id: record for record in records(read_journal(scaled / "journal.jsonl"))}
    assert set(found) == set(recorded)
    for name, record in recorded.items():
        metrics = found[name].data.metrics
        assert metrics["utility/loss"] == pytest.approx(record.report.metrics["utility/loss"])
        assert found[name].data.params.get("scale") == (None if record.scaled_of is None else "0.5")


def test_weights_of_the_front_are_kept_and_of_scaled_members_those_of_their_training(
    scaled: Path, tmp_path: Path
) -> None:
    (body,) = json.loads((scaled / "front.json").read_text())["models"].values()
    assert body["front"]
    for name in body["front"]:
        assert (scaled / "checkpoints" / name.partition("@")[0]).is_dir()
        assert export_trial(scaled, name, tmp_path / name, merged=False).form == "adapter"
