"""True sweeps: real Ray, real DeepSpeed, real MLflow, the embedded model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from jsonschema import Draft202012Validator
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun
from model_folders import write_model
from small_sweeps import Cluster, Run, processes, small_sweep

from orchestrator.commands.status import sweep_status
from orchestrator.record.journal import read_journal, records
from orchestrator.record.trials import Status, TrialRecord

pytestmark = pytest.mark.xdist_group("sweeps")
REFERENCES = {"base", "ift", "ift_safety"}
STEPS = [8, 16, 24, 32, 40]
"""At which a training is reported, and then makes a checkpoint."""
PUBLISHED = Path(__file__).parents[3] / "docs" / "front.schema.json"


def ended(count: int) -> Callable[[list[dict[str, Any]]], bool]:
    return lambda events: sum(event["event"] == "trial_ended" for event in events) >= count


class TwoRanks:
    """What the two-rank sweep left behind."""

    def __init__(self, directory: Path, output: str) -> None:
        self.directory = directory
        self.output = output
        self.front = json.loads((directory / "front.json").read_text())
        self.events = read_journal(directory / "journal.jsonl")
        self.records = records(self.events)
        self.beside = sorted(file.name for file in directory.parent.iterdir())  # before anybody reads the store
        client = MlflowClient(f"sqlite:///{directory.parent}/mlflow.db")
        experiment = client.get_experiment_by_name("small")
        assert experiment is not None
        self.client = client
        self.runs: dict[str, MlflowRun] = {
            run.info.run_name: run for run in client.search_runs([experiment.experiment_id], max_results=100)
        }

    def searched(self) -> list[TrialRecord]:
        return [record for record in self.records if record.kind == "trial"]


@pytest.fixture(scope="module")
def two_ranks(start_sweep: Callable[..., Run], cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> TwoRanks:
    """Four trials and the references on one slot of two ranks with ZeRO-2; one is killed, and later the broker."""
    trial = {**small_sweep()["trial"], "steps": STEPS[-1], "log_every": STEPS[0], "checkpoint_every": STEPS[0]}
    spec = small_sweep(trial=trial, resources={"workers": 2})
    run = start_sweep(tmp_path_factory.mktemp("two-ranks"), spec, *cluster.join, new_store=True)
    run.wait_for(lambda events: any(event["event"] == "trial_reported" and event["step"] > 8 for event in events))
    processes(cluster, "RayTrainWorker")[-1].kill()
    run.wait_for(ended(3))
    (broker,) = processes(cluster, "ray::Broker")
    broker.kill()
    code, output = run.finish()
    assert code == 0, output
    return TwoRanks(run.directory, output)


def test_every_trial_finishes(two_ranks: TwoRanks) -> None:
    assert [record.status for record in two_ranks.records] == [Status.FINISHED] * 7, two_ranks.output
    assert {record.label for record in two_ranks.records if record.kind == "reference"} == REFERENCES
    assert len(two_ranks.searched()) == 4


def test_the_training_of_a_killed_worker_goes_on_from_its_checkpoint(two_ranks: TwoRanks) -> None:
    notes = [event["text"] for event in two_ranks.events if event["event"] == "note" and "checkpoint" in event["text"]]
    assert len(notes) == 1, notes
    assert int(notes[0].rpartition(" ")[2]) > STEPS[0]


def test_a_killed_broker_costs_no_trial_its_slot(two_ranks: TwoRanks) -> None:
    ends = [event["id"] for event in two_ranks.events if event["event"] == "trial_ended"]
    assert len(ends) == len(set(ends)) == 7
    notes = [event["text"] for event in two_ranks.events if event["event"] == "note"]
    assert sum("goes to the next slot that is free" in note for note in notes) == 1, notes  # of the killed worker
    assert not list(two_ranks.directory.rglob("broker.jsonl"))


def test_training_is_reported_on_the_way(two_ranks: TwoRanks) -> None:
    trained = [record for record in two_ranks.records if record.label != "base"]
    assert all([step for step, _ in record.history] == STEPS for record in trained)
    fall = [record.history[0][1]["train/loss"] - record.history[-1][1]["train/loss"] for record in trained]
    assert sum(fall) > 0
    assert any(metrics["train/penalty"] > 0 for record in two_ranks.searched() for _, metrics in record.history)


def test_the_front_is_what_the_contract_says(two_ranks: TwoRanks) -> None:
    Draft202012Validator(json.loads(PUBLISHED.read_text())).validate(two_ranks.front)
    model = two_ranks.front["models"]["small"]
    assert set(model["reference"]) == REFERENCES
    assert model["hypervolume"] > 0
    for reference in model["reference"].values():
        low, high = reference["intervals"]["safety/attack_success_rate"]
        assert low <= reference["metrics"]["safety/attack_success_rate"] <= high
    assert [trial["id"] for trial in model["trials"]] == [record.id for record in two_ranks.searched()]
    for trial in model["trials"]:
        assert trial["status"] == "FINISHED"
        assert set(trial["params"]) == {
            "constraint.alpha",
            "constraint.warmup_steps",
            "constraint.layers",
            "safety_share",
        }
        assert {"safety/attack_success_rate", "utility/accuracy", "safety/over_refusal"} <= set(trial["metrics"])
    assert any(trial["on_front"] for trial in model["trials"])


def test_the_files_are_there_and_whole(two_ranks: TwoRanks) -> None:
    table = pq.read_table(two_ranks.directory / "trials.parquet")
    assert table.num_rows == 4
    assert {"id", "model", "status", "utility/accuracy", "utility/accuracy_low", "utility/accuracy_high"} <= set(
        table.column_names
    )
    html = (two_ranks.directory / "front.html").read_text()
    assert "<script" in html
    assert 'src="http' not in html
    assert (two_ranks.directory / "front.png").read_bytes().startswith(b"\x89PNG")
    manifest = json.loads((two_ranks.directory / "sweep.json").read_text())["manifest"]
    assert manifest["versions"]["ray"]
    assert list((two_ranks.directory / "directions").rglob("*.safetensors"))
    assert list((two_ranks.directory / "references").glob("*.arrow"))


def test_nothing_is_left_beside_the_output(two_ranks: TwoRanks) -> None:
    assert two_ranks.beside == ["mlartifacts", "mlflow.db", "out"]
    assert sorted(file.name for file in two_ranks.directory.parents[1].iterdir()) == ["spec.yaml", "sweeps"]


def test_answers_are_kept_with_their_verdicts(two_ranks: TwoRanks) -> None:
    for record in two_ranks.records:
        answers = pq.read_table(two_ranks.directory / "answers" / f"{record.id}.parquet").to_pylist()
        harmful = [answer for answer in answers if answer["set"] == "harmful" and answer["split"] == "report"]
        refused = sum(bool(answer["refused"]) for answer in harmful)
        successes, total = record.report.counts["safety/attack_success_rate"]
        assert (len(harmful) - refused, len(harmful)) == (successes, total)


def test_mlflow_has_a_parent_with_the_front_and_a_child_per_trial(two_ranks: TwoRanks) -> None:
    parents = [run for run in two_ranks.runs.values() if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    artifacts = {file.path for file in two_ranks.client.list_artifacts(parents[0].info.run_id)}
    assert {"front.html", "front.png", "front.json"} <= artifacts
    assert any("table" in path or path.endswith("front_table.json") for path in artifacts), artifacts
    children = [run for run in two_ranks.runs.values() if run is not parents[0]]
    assert len(children) == 7
    assert {run.info.status for run in [*parents, *children]} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}


def test_a_childs_curve_and_parameters_are_in_mlflow(two_ranks: TwoRanks) -> None:
    record = two_ranks.searched()[0]
    remembered = {
        e["key"]: e["run_id"] for e in read_journal(two_ranks.directory / "journal.jsonl") if e["event"] == "mlflow_run"
    }
    run = two_ranks.client.get_run(remembered[record.id])
    assert float(run.data.params["constraint.alpha"]) == pytest.approx(record.params["constraint.alpha"])
    steps = [metric.step for metric in two_ranks.client.get_metric_history(run.info.run_id, "train/loss")]
    assert steps == STEPS
    assert run.data.metrics["utility/accuracy"] == pytest.approx(record.report.metrics["utility/accuracy"])
    on_front = {trial["id"] for trial in two_ranks.front["models"]["small"]["trials"] if trial["on_front"]}
    tagged = {
        name for name in remembered if two_ranks.client.get_run(remembered[name]).data.tags.get("pareto") == "true"
    }
    assert tagged == on_front


def test_the_end_says_what_to_do_next(two_ranks: TwoRanks) -> None:
    mlflow = ("server --backend-store-uri sqlite:///", "workflowType=machine_learning")
    for words in ("Pareto front of small", "base", "IFT", "front.html", *mlflow):
        assert words in two_ranks.output


@pytest.mark.slow
def test_two_models_give_two_fronts_and_a_comparison(
    start_sweep: Callable[..., Run], cluster: Cluster, tmp_path: Path
) -> None:
    models = [{"name": "first", "path": "organism/small"}, {"name": "second", "path": "organism/small", "seed": 1}]
    trial = {**small_sweep()["trial"], "steps": 4}
    search = {"constraint": {"alpha": {"type": "loguniform", "low": 3e-3, "high": 3.0}}}
    run = start_sweep(tmp_path, small_sweep(models=models, trials=2, trial=trial, search=search), *cluster.join)
    code, output = run.finish()
    assert code == 0, output
    front = json.loads((run.directory / "front.json").read_text())
    assert set(front["models"]) == {"first", "second"}
    assert all(len(model["trials"]) == 2 for model in front["models"].values())
    assert all(set(model["reference"]) == REFERENCES for model in front["models"].values())
    assert front["comparison"]
    client = MlflowClient(f"sqlite:///{run.directory.parent}/mlflow.db")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    parents = {run.info.run_id for run in runs if "mlflow.parentRunId" not in run.data.tags}
    assert len(parents) == 2
    assert {run.data.tags.get("mlflow.parentRunId") for run in runs} - {None} == parents


@pytest.mark.slow
def test_a_model_that_cannot_be_prepared_is_given_up_once_and_the_other_goes_on(
    start_sweep: Callable[..., Run], cluster: Cluster, tmp_path: Path
) -> None:
    random = {"name": "random", "path": str(write_model(tmp_path / "model"))}
    models = [random, {"name": "sound", "path": "organism/small"}]
    search = {"constraint": {"alpha": {"type": "loguniform", "low": 3e-3, "high": 3.0}}}
    trial = {**small_sweep()["trial"], "steps": 2}
    run = start_sweep(tmp_path, small_sweep(models=models, trials=2, trial=trial, search=search), *cluster.join)
    code, output = run.finish()
    assert code == 1, output
    found = records(read_journal(run.directory / "journal.jsonl"))
    assert [record.status for record in found if record.model == "sound"] == [Status.FINISHED] * 5
    ended = [record for record in found if record.model == "random"]
    assert len(ended) <= 2, "as many as there are slots"
    cause = "the model refuses only 0 of the"
    assert all(cause in str(record.error) or record.status is Status.STOPPED for record in ended)
    assert "Traceback" not in output
    assert output.count(cause) == 2, output  # when it happened, and in the last words
    status = sweep_status(run.directory)
    assert cause in status.given_up["random"]
    client = MlflowClient(f"sqlite:///{run.directory.parent}/mlflow.db")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], filter_string="tags.`procon.kind` = 'parent'")
    by_model = {run.data.tags["procon.model"]: run for run in runs}
    assert {name: run.info.status for name, run in by_model.items()} == {"random": "FAILED", "sound": "FINISHED"}
    assert cause in by_model["random"].data.tags["procon.given_up"]
