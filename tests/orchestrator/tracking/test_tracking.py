"""MLflow for real: an SQLite store in a temporary folder, and servers that hang, fail, or are not there."""

import dataclasses
import http.server
import json
import logging
import shutil
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from front_samples import ACCURACY, ASR, OBJECTIVES, RULES, record, references, sweep
from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.errors import OrchestratorError, TrackingError
from orchestrator.front.document import build_front
from orchestrator.record.trials import Status, TrialRecord
from orchestrator.report.files import ReportFiles, write_report
from orchestrator.tracking.front_table import stable_text
from orchestrator.tracking.looks import COLOR, run_color
from orchestrator.tracking.tracker import Tracker, check_tracking, default_tracking_uri, parent_key
from sweeps.schema.arms import PLAIN
from training.evaluation.scores import Scores

SECONDS = 120.0


class Store:
    """An MLflow store and what a journal would remember of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri, self.artifacts = default_tracking_uri(folder / "runs" / "demo")
        (folder / "runs").mkdir(exist_ok=True)
        self.known: dict[str, str] = {}

    def tracker(self) -> Tracker:
        """As a process that starts, or one that resumes: it knows what was remembered before."""
        known = dict(self.known)
        return Tracker(self.uri, "demo", self.artifacts, remember=self.known.__setitem__, known=known)

    def client(self) -> MlflowClient:
        return MlflowClient(self.uri)

    def run(self, key: str) -> Run:
        return self.client().get_run(self.known[key])

    def runs(self) -> list[Run]:
        client = self.client()
        experiment = client.get_experiment_by_name("demo")
        assert experiment is not None
        return list(client.search_runs([experiment.experiment_id], max_results=1000))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: Path) -> Store:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store = Store(tmp_path)
    shutil.copy(empty_store, tmp_path / "runs" / "mlflow.db")
    return store


def running(trial: TrialRecord) -> TrialRecord:
    return dataclasses.replace(
        trial, status=Status.RUNNING, report=Scores(), select=Scores(), history=(), error=None, finished=None
    )


def play(tracker: Tracker, records: Iterable[TrialRecord], at: float | None = None) -> None:
    """The events of trials that run from start to end."""
    for trial in records:
        tracker.trial_started(running(trial))
        for step, metrics in trial.history:
            tracker.trial_reported(trial.id, step, metrics, at)
        tracker.trial_finished(trial)


def report(store: Store, records: list[TrialRecord]) -> tuple[dict[str, Any], ReportFiles]:
    front = build_front(OBJECTIVES, RULES, records)
    return front, write_report(store.folder / "runs" / "demo", "demo", front, records)


def test_a_sweep_is_a_parent_run_with_a_child_per_trial(store: Store) -> None:
    records = [
        *references(),
        record("organism-000", 0.1, 0.8, params={"constraint.alpha": 0.01, "constraint.layers": [0, 3]}),
        record("organism-001", 0.5, 0.7, arm=PLAIN),
        record("organism-002", status=Status.FAILED),
        record("organism-003", status=Status.PRUNED),
        record("organism-004", status=Status.STOPPED),
    ]
    front, files = report(store, records)
    tracker = store.tracker()
    tracker.parent("organism", {"trials": 5, "model.path": None}, {"version.ray": "2.60.0"})
    play(tracker, records)
    tracker.finish_parent("organism", "FINISHED", files, front)
    assert tracker.close(SECONDS) == 0

    parent = store.run(parent_key("organism"))
    assert parent.info.status == "FINISHED"
    assert parent.data.params == {"trials": "5", "model.path": "null"}
    assert parent.data.tags["version.ray"] == "2.60.0"
    assert parent.data.metrics["front/hypervolume"] == pytest.approx(front.models["organism"].hypervolume)
    verdict = front.models["organism"].verdict
    assert verdict is not None
    gain = {name: parent.data.metrics[f"front/{name}"] for name in ("gain", "gain_low", "gain_high")}
    assert gain == pytest.approx({"gain": verdict.difference, "gain_low": verdict.low, "gain_high": verdict.high})
    note = parent.data.tags["mlflow.note.content"]
    assert f"**{verdict.sentence}**" in note
    assert "organism-000" in note
    assert note.endswith(f"(get-artifact?path=front.png&run_uuid={parent.info.run_id})")
    artifacts = {entry.path for entry in store.client().list_artifacts(parent.info.run_id)}
    assert artifacts == {"front.html", "front.png", "course.png", "front.json", "front_table.json"}
    mlflow.set_tracking_uri(store.uri)  # load_table is fluent inside
    try:
        table = store.client().load_table(parent.info.experiment_id, "front_table.json")
    finally:
        mlflow.set_tracking_uri(None)
    assert list(table["trial"]) == ["organism-000"]

    children = [run for run in store.runs() if run.info.run_id != parent.info.run_id]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    plain = [run.data.tags["procon.trial"] for run in children if run.data.tags["procon.arm"] == "plain"]
    assert plain == ["organism-001"]
    assert {run.data.tags["procon.trial"]: run.info.status for run in children} == {
        "organism-base": "FINISHED",
        "organism-ift": "FINISHED",
        "organism-ift_safety": "FINISHED",
        "organism-000": "FINISHED",
        "organism-001": "FINISHED",
        "organism-002": "FAILED",
        "organism-003": "KILLED",
        "organism-004": "KILLED",
    }
    assert store.run("organism-003").data.tags["procon.status"] == "PRUNED"
    assert store.run("organism-004").data.tags["procon.status"] == "STOPPED"
    assert store.run("organism-002").data.tags["procon.error"] == "loss became NaN"
    assert {run.data.tags["procon.trial"]: run.data.tags.get("pareto") for run in children} == {
        "organism-base": None,
        "organism-ift": None,
        "organism-ift_safety": None,
        "organism-000": "true",
        "organism-001": "false",
        "organism-002": "false",
        "organism-003": "false",
        "organism-004": "false",
    }

    trial = store.run("organism-000")
    assert trial.info.run_name == "000 · alpha 0.01 · layers 0, 3"
    assert trial.data.params == {"model": "organism", "constraint.alpha": "0.01", "constraint.layers": "[0, 3]"}
    assert (trial.data.metrics["front/on_front"], trial.data.tags[COLOR]) == (1.0, "#0072b2".upper())
    behind = store.run("organism-001").data
    assert (behind.metrics["front/on_front"], behind.tags[COLOR]) == (0.0, run_color("trial", "", 0, pale=True))
    assert trial.data.metrics[ACCURACY] == 0.8
    losses = store.client().get_metric_history(trial.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in losses] == [(10, 0.2), (20, 0.1), (30, 2 / 30)]
    assert (trial.info.start_time, trial.info.end_time) == (1_760_000_000_000, 1_760_000_020_000)


def test_events_that_are_told_again_change_nothing(store: Store) -> None:
    records = sweep(6)
    front, files = report(store, records)

    def tell() -> None:
        tracker = store.tracker()
        tracker.parent("organism", {"trials": 6})
        play(tracker, records)
        tracker.finish_parent("organism", "FINISHED", files, front)
        assert tracker.close(SECONDS) == 0

    def everything() -> dict[str, Any]:
        client = store.client()
        return {
            run.info.run_id: (
                run.info.status,
                run.data.params,
                run.data.tags,
                {name: len(client.get_metric_history(run.info.run_id, name)) for name in run.data.metrics},
            )
            for run in store.runs()
            if run.data.tags["procon.kind"] != "parent"
        }

    tell()
    before, remembered = everything(), dict(store.known)
    tell()
    assert everything() == before
    assert store.known == remembered
    assert len(store.runs()) == 1 + len(records)


def test_a_trial_that_was_interrupted_goes_on_in_its_run(store: Store) -> None:
    trial = record("organism-000")
    first = store.tracker()
    first.parent("organism")
    first.trial_started(running(trial))
    first.trial_reported(trial.id, 10, {"train/loss": 0.2})
    first.trial_finished(dataclasses.replace(running(trial), status=Status.STOPPED, finished=1_760_000_010.0))
    assert first.close(SECONDS) == 0
    assert store.run(trial.id).info.status == "KILLED"

    resumed = store.tracker()
    resumed.trial_started(running(trial))
    resumed.trial_reported(trial.id, 10, {"train/loss": 0.2})  # repeated from its checkpoint
    resumed.trial_reported(trial.id, 20, {"train/loss": 0.1})
    resumed.trial_finished(trial)
    assert resumed.close(SECONDS) == 0
    run = store.run(trial.id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["procon.status"] == "FINISHED"
    losses = store.client().get_metric_history(run.info.run_id, "train/loss")
    assert sorted(point.step for point in losses) == [10, 20, 30]  # step 30 comes from the record's history
    assert len(store.runs()) == 2


def test_a_child_that_was_not_remembered_is_found_again(store: Store) -> None:
    first = store.tracker()
    play(first, [record("organism-000")])
    assert first.close(SECONDS) == 0
    lost = store.known.pop("organism-000")  # killed between the answer of MLflow and the journal's line
    again = store.tracker()
    play(again, [record("organism-000")])
    assert again.close(SECONDS) == 0
    assert store.known["organism-000"] == lost


def test_ids_of_another_store_lead_to_new_runs(store: Store, tmp_path: Path) -> None:
    store.known = {"organism-000": "0" * 32, parent_key("organism"): "1" * 32}
    tracker = store.tracker()
    play(tracker, [record("organism-000")])
    assert tracker.close(SECONDS) == 0
    assert store.run("organism-000").info.status == "FINISHED"
    assert store.known["organism-000"] != "0" * 32


def test_ids_are_remembered_before_anything_is_logged(store: Store) -> None:
    seen: list[tuple[str, int]] = []

    def remember(key: str, run_id: str) -> None:
        run = MlflowClient(store.uri).get_run(run_id)
        seen.append((key, len(run.data.metrics) + len(run.data.params)))

    tracker = Tracker(store.uri, "demo", store.artifacts, remember=remember, known={})
    play(tracker, [record("organism-000")])
    assert tracker.close(SECONDS) == 0
    assert seen == [(parent_key("organism"), 0), ("organism-000", 0)]


def test_a_journal_that_takes_no_more_loses_no_event(store: Store) -> None:
    def closed(key: str, run_id: str) -> None:
        store.known[key] = run_id
        raise ValueError("I/O operation on closed file")

    tracker = Tracker(store.uri, "demo", store.artifacts, remember=closed, known={})
    play(tracker, [record("organism-000")])
    assert tracker.close(SECONDS) == 0
    assert store.run("organism-000").info.status == "FINISHED"
    assert len(store.runs()) == 2


def test_the_front_of_an_extended_sweep_replaces_the_old_marks_and_table(store: Store) -> None:
    old, new = record("organism-000", 0.3, 0.6), record("organism-001", 0.1, 0.8)
    for records in ([old], [old, new]):
        front, files = report(store, records)
        tracker = store.tracker()
        tracker.parent("organism")
        play(tracker, records)
        tracker.finish_parent("organism", "FINISHED", files, front)
        assert tracker.close(SECONDS) == 0
    assert [store.run(t.id).data.tags["pareto"] for t in (old, new)] == ["false", "true"]
    parent = store.run(parent_key("organism"))
    path = store.client().download_artifacts(parent.info.run_id, "front_table.json", str(store.folder))
    assert [row[0] for row in json.loads(Path(path).read_text())["data"]] == ["organism-001"]


def test_what_the_store_refuses_is_counted_and_the_rest_goes_on(store: Store) -> None:
    tracker = store.tracker()
    tracker.trial_started(running(record("a", params={"constraint.alpha": 0.1})))
    tracker.trial_started(running(record("a", params={"constraint.alpha": 0.2})))  # MLflow parameters never change
    tracker.trial_reported("never started", 1, {"train/loss": 1.0})
    tracker.trial_finished(record("b"))
    assert tracker.close(SECONDS) == 1
    assert store.run("a").data.params == {"model": "organism", "constraint.alpha": "0.1"}
    assert store.run("b").info.status == "FINISHED"


def test_a_store_that_does_not_exist_yet_is_made_quietly(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    known: dict[str, str] = {}
    uri, artifacts = f"sqlite:///{tmp_path}/mlflow.db", (tmp_path / "mlartifacts").as_uri()
    tracker = Tracker(uri, "demo", artifacts, remember=known.__setitem__, known={})
    tracker.parent("organism")
    assert tracker.close(SECONDS) == 0
    assert known
    experiment = MlflowClient(uri).get_experiment_by_name("demo")
    assert experiment is not None
    assert experiment.artifact_location == artifacts
    assert "INFO" not in "".join(capfd.readouterr())


def test_values_that_are_no_numbers_are_left_out(store: Store) -> None:
    tracker = store.tracker()
    trial = record("a", scores=Scores({ASR: float("nan"), ACCURACY: 0.5}))
    tracker.trial_finished(trial)
    assert tracker.close(SECONDS) == 0
    assert set(store.run("a").data.metrics) == {ACCURACY, "front/on_front", "train/loss", "train/penalty"}


def test_parameters_are_stable_text() -> None:
    assert stable_text(1e-2) == stable_text(0.01) == "0.01"
    assert stable_text("all") == "all"
    assert stable_text(True) == "true"
    assert stable_text([0, 3]) == "[0, 3]"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_unreachable_server_never_holds_the_sweep_up(caplog: pytest.LogCaptureFixture) -> None:
    tracker = Tracker(f"http://127.0.0.1:{free_port()}", "demo", remember=lambda *_: None, known={})
    begin = time.perf_counter()
    with caplog.at_level(logging.WARNING, logger="orchestrator.tracking.tracker"):
        for number in range(200):
            tracker.trial_reported("a", number, {"train/loss": 1.0})
        told = time.perf_counter() - begin
        tracker.parent("organism")
        deadline = time.monotonic() + 60
        while tracker.trouble is None and time.monotonic() < deadline:
            tracker.trial_finished(record("a"))
            time.sleep(0.2)
        assert tracker.trouble is not None
        begin = time.perf_counter()
        assert tracker.close(1.0) > 0
    assert told < 0.5
    assert time.perf_counter() - begin < 3
    assert sum("wait in memory" in message for message in caplog.messages) == 1


def test_events_wait_for_a_server_that_comes_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The true MLflow application behind a door that is shut at first."""
    from mlflow.server import ARTIFACT_ROOT_ENV_VAR, BACKEND_STORE_URI_ENV_VAR, app
    from werkzeug.serving import make_server

    monkeypatch.setenv(BACKEND_STORE_URI_ENV_VAR, store.uri)
    monkeypatch.setenv(ARTIFACT_ROOT_ENV_VAR, str(store.artifacts))
    refused = 0

    def door(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        nonlocal refused
        if refused < 3:
            refused += 1
            start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
            return [b"restarting"]
        answer: Iterable[bytes] = app(environ, start_response)
        return answer

    server = make_server("127.0.0.1", 0, door)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        uri = f"http://127.0.0.1:{server.server_port}"
        tracker = Tracker(uri, "demo", store.artifacts, remember=store.known.__setitem__, known={})
        play(tracker, [record("organism-000")])
        assert tracker.close(SECONDS) == 0
    finally:
        server.shutdown()
        thread.join()
    assert refused == 3
    assert store.run("organism-000").info.status == "FINISHED"
    assert len(store.runs()) == 2


def test_a_tracker_that_was_never_used_closes_at_once() -> None:
    assert Tracker("http://127.0.0.1:9", "demo", remember=lambda *_: None, known={}).close() == 0


def test_the_default_store_lies_beside_the_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    one, two = default_tracking_uri(tmp_path / "runs" / "demo"), default_tracking_uri(tmp_path / "runs" / "demo-2")
    assert one == two == (f"sqlite:///{tmp_path}/runs/mlflow.db", f"file://{tmp_path}/runs/mlartifacts")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert default_tracking_uri(tmp_path / "demo") == ("http://tracking:5000", None)


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A server whose /health says what its path prefix asks for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if self.path.startswith("/hangs"):
                time.sleep(8)
            self.send_response(500 if self.path.startswith("/sick") else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listener.server_port}", asked
    listener.shutdown()


def test_a_healthy_server_is_asked_once(server: tuple[str, list[str]]) -> None:
    address, asked = server
    check_tracking(f"{address}/")
    assert asked == ["/health"]


def test_a_sick_server_is_refused(server: tuple[str, list[str]]) -> None:
    address, asked = server
    with pytest.raises(TrackingError, match=r"MLFLOW_TRACKING_URI \('http.*/sick'\) answers /health with HTTP 500"):
        check_tracking(f"{address}/sick")
    assert asked == ["/sick/health"]


@pytest.mark.slow
def test_a_server_that_hangs_is_refused_after_five_seconds(server: tuple[str, list[str]]) -> None:
    address, asked = server
    begin = time.perf_counter()
    with pytest.raises(TrackingError, match="no answer within 5 s"):
        check_tracking(f"{address}/hangs")
    assert 4 < time.perf_counter() - begin < 7
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        pytest.param(f"http://127.0.0.1:{free_port()}", "cannot be reached", id="nobody listens"),
        ("http://", "cannot be reached"),
        ("databricks", "folder"),
        ("postgresql://h/db", "scheme that is not supported"),
        ("file:///tmp/mlruns", "folder"),
        ("sqlite:////etc/hostname/mlflow.db", "cannot be written"),
        ("sqlite:////tmp", "names a folder"),
    ],
)
def test_a_store_that_cannot_be_used_is_a_sentence(uri: str, says: str) -> None:
    with pytest.raises(OrchestratorError) as caught:
        check_tracking(uri)
    text = str(caught.value)
    assert text.startswith(f"MLFLOW_TRACKING_URI ({uri!r})")
    assert says in text
    assert "\n" not in text
    assert "unset it" in text


def test_a_sqlite_store_may_lie_in_folders_that_do_not_exist_yet(tmp_path: Path) -> None:
    check_tracking(f"sqlite:///{tmp_path}/runs/deep/mlflow.db")
    assert list(tmp_path.iterdir()) == []
