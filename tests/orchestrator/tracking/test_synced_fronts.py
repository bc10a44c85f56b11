"""A sweep of two models in an SQLite store: what stands beside its trials, and that nothing stands there twice."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from command_line import procon
from detailed_samples import detailed_sweep
from front_samples import ACCURACY, ASR
from mlflow import MlflowClient
from mlflow.entities import Run
from written_sweeps import demo_spec, write_sweep

from orchestrator.driver.sync import RUNS, sync
from orchestrator.front.front_file import read_front
from orchestrator.front.schema.document import FrontDocument
from orchestrator.record.folder import CHECKPOINTS
from orchestrator.tracking.index import RunIndex
from orchestrator.tracking.logged_models import CHECKPOINT, log_front_models
from training.loop.checkpointing import LATEST_FILE
from training.loop.names import MANIFEST_FILE

pytestmark = pytest.mark.slow

MODELS = ("organism", "other")
TABLES = ("runs", "metrics", "params", "tags", "inputs", "datasets", "logged_models", "logged_model_metrics")


class Synced:
    """A sweep's folder and the store that it was brought into."""

    def __init__(self, folder: Path, database: Path) -> None:
        self.folder, self.database, self.uri = folder, database, f"sqlite:///{database}"
        self.client = MlflowClient(self.uri, registry_uri=self.uri)

    @property
    def front(self) -> FrontDocument:
        return read_front(self.folder)

    def runs(self, wanted: str = "") -> list[Run]:
        experiment = self.client.get_experiment_by_name("demo")
        assert experiment is not None
        return list(self.client.search_runs([experiment.experiment_id], wanted, max_results=1000))

    def run(self, wanted: str) -> Run:
        (found,) = self.runs(wanted)
        return found

    def rows(self) -> dict[str, int]:
        with sqlite3.connect(self.database) as store:
            return {name: store.execute(f"select count(*) from {name}").fetchone()[0] for name in TABLES}

    def models(self) -> dict[str, Any]:
        experiment = self.runs()[0].info.experiment_id
        return {model.tags["procon.trial"]: model for model in self.client.search_logged_models([experiment])}


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Synced:
    folder = tmp_path_factory.mktemp("synced")
    sweeps = [detailed_sweep(8, model, replicated=1, seed=seed) for seed, model in enumerate(MODELS)]
    records = [record for found, _ in sweeps for record in found]
    answers = {trial: rows for _, found in sweeps for trial, rows in found.items()}
    sweep = write_sweep(folder / "sweep", demo_spec(MODELS), records, answers)
    (sweep / CHECKPOINTS / "organism-00").mkdir(parents=True)
    shutil.copy(empty_store, folder / "store.db")
    found = Synced(sweep, folder / "store.db")
    assert sync(sweep, found.uri).undelivered == 0
    return found


def test_the_hypervolume_grows_by_the_trials_that_ended(synced: Synced) -> None:
    for model in MODELS:
        run = synced.run(f"tags.`procon.kind` = 'parent' and tags.`procon.model` = '{model}'").info.run_id
        points = synced.client.get_metric_history(run, "front/hypervolume")
        last = max(points, key=lambda point: (point.step, point.timestamp))
        assert sorted({point.step for point in points}) == list(range(1, 9))
        assert last.value == pytest.approx(synced.front.models[model].hypervolume)


def test_trials_have_intervals_select_values_and_what_their_seeds_say_together(synced: Synced) -> None:
    for entry in synced.front.models["organism"].trials:
        run = synced.run(f"tags.`procon.trial` = '{entry.id}'").data
        assert run.metrics["front/on_front"] == entry.on_front
        assert run.tags["pareto"] == str(entry.on_front).lower()
        if entry.replicates == 1:
            assert run.metrics[f"{ASR}_high"] == pytest.approx(entry.intervals[ASR][1])
            assert run.metrics[f"select/{ASR}"] == pytest.approx(entry.select.metrics[ASR])
        elif entry.replicates > 1:
            assert run.metrics[f"pooled/{ACCURACY}"] == pytest.approx(entry.metrics[ACCURACY])
    assert any(entry.replicates > 1 for entry in synced.front.models["organism"].trials)
    choice = synced.front.models["organism"].choice
    assert choice is not None
    chosen = synced.runs("tags.`selected` = 'true' and tags.`procon.model` = 'organism'")
    assert [run.data.tags["procon.trial"] for run in chosen] == [choice.trial]


def test_runs_name_the_data_that_they_were_made_of(synced: Synced) -> None:
    def data(trial: str) -> dict[str, str]:
        inputs = synced.run(f"tags.`procon.trial` = '{trial}'").inputs.dataset_inputs
        return {one.dataset.name: one.tags[0].value for one in inputs}

    assert data("organism-base") == {
        "harmful.train": "direction",
        "harmless.train": "direction",
        **{f"{name}.test": "evaluation" for name in ("task", "harmful", "harmless", "borderline")},
    }
    assert data("organism-ift") == {**data("organism-base"), "task.train": "training"}
    parent = synced.run("tags.`procon.kind` = 'parent' and tags.`procon.model` = 'other'").inputs.dataset_inputs
    digests = {one.dataset.name: one.dataset.digest for one in parent}
    assert digests.keys() >= {"safety.train", "task.train"}
    assert len(set(digests.values())) == len(digests), "each split of each source has its own"


def test_members_are_models_that_say_where_their_weights_are(synced: Synced) -> None:
    models = synced.models()
    assert set(models) == {trial for body in synced.front.models.values() for trial in body.front}
    for trial, model in models.items():
        run = synced.run(f"tags.`procon.trial` = '{trial}'")
        assert model.source_run_id == run.info.run_id
        assert str(model.status) == "READY"
        values = {metric.key: metric.value for metric in model.metrics}
        assert values[ASR] == run.data.metrics[ASR]
        assert model.params["constraint.alpha"] == run.data.params["constraint.alpha"]
        kept = synced.folder / CHECKPOINTS / trial
        assert model.tags.get(CHECKPOINT, "") == (str(kept) if kept.is_dir() else "")
        assert [one.model_id for one in run.outputs.model_outputs] == [model.model_id]


def test_the_models_stand_side_by_side_in_a_run_of_their_own(synced: Synced) -> None:
    comparison = synced.front.comparison
    assert comparison is not None
    assert comparison.normalised is not None
    run = synced.run("tags.`procon.kind` = 'comparison'")
    for model in comparison.normalised.models:
        assert model.hypervolume is not None
        assert run.data.metrics[f"normalised/hypervolume/{model.name}"] == pytest.approx(model.hypervolume.value)
        parent = synced.run(f"tags.`procon.kind` = 'parent' and tags.`procon.model` = '{model.model}'")
        assert parent.data.metrics["normalised/hypervolume_low"] == pytest.approx(model.hypervolume.low)
    files = {file.path for file in synced.client.list_artifacts(run.info.run_id)}
    assert files == {f"comparison.{ending}" for ending in ("html", "png", "json")} | {"comparison_table.json"}
    assert f"path=comparison.png&run_uuid={run.info.run_id}" in run.data.tags["mlflow.note.content"]


def test_a_second_sync_writes_nothing_twice_even_by_someone_who_knows_no_runs(synced: Synced) -> None:
    before = synced.rows()
    assert sync(synced.folder, synced.uri).undelivered == 0
    assert synced.rows() == before
    (synced.folder / RUNS).unlink()
    assert sync(synced.folder, synced.uri).undelivered == 0
    assert synced.rows() == before


def test_a_member_that_leaves_the_front_keeps_its_model_and_loses_its_tag(synced: Synced, tmp_path: Path) -> None:
    shutil.copy(synced.database, tmp_path / "store.db")
    copy = Synced(synced.folder, tmp_path / "store.db")
    body = synced.front.models["organism"]
    gone = body.front[0]
    fewer = body.model_copy(
        update={"trials": tuple(t.model_copy(update={"on_front": t.on_front and t.id != gone}) for t in body.trials)}
    )
    known = json.loads((synced.folder / RUNS).read_text())[synced.uri]
    index = RunIndex(copy.uri, "demo", None, lambda _key, _run: None, known)
    log_front_models(index, known["parent/organism"], fewer, None, {})
    assert copy.models()[gone].tags["pareto"] == "false"
    assert set(copy.models()) == set(synced.models())
    assert {trial for trial, model in copy.models().items() if model.tags["pareto"] == "true"} == {*synced.models()} - {
        gone
    }


@pytest.mark.parametrize(
    ("name", "uri", "says"),
    [
        ("a/b", None, "no name of a registered model"),
        ("", None, "no name of a registered model"),
        ("safe", "http://127.0.0.1:9", "cannot be reached"),
        ("safe", "sqlite:///{folder}/new.db", "procon sync"),
    ],
)
def test_a_registration_that_cannot_be_is_refused_before_weights_are_written(
    synced: Synced, tmp_path: Path, empty_store: Path, name: str, uri: str | None, says: str
) -> None:
    shutil.copy(empty_store, tmp_path / "new.db")
    where = (uri or synced.uri).format(folder=tmp_path)
    step = synced.folder / CHECKPOINTS / "organism-00/step-00000100"
    step.mkdir(parents=True, exist_ok=True)
    (step / MANIFEST_FILE).write_text(json.dumps({"step": 100}))
    (step.parent / LATEST_FILE).write_text(step.name)
    words = (
        "export",
        synced.folder,
        "--trial",
        "organism-00",
        "--to",
        tmp_path / "out",
        "--register",
        name,
        "--uri",
        where,
    )
    refused = procon(*words)
    assert refused.returncode == 2, refused.stderr
    assert says in " ".join(refused.stderr.split())
    assert not (tmp_path / "out").exists()
