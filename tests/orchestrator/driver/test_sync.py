"""``procon sync``: a sweep in a store that never saw it, once however often it is asked for."""

import base64
import json
import os
import shutil
import socket
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from command_line import procon
from detailed_samples import detailed_sweep
from written_sweeps import demo_spec, write_sweep

from orchestrator.driver.sync import RUNS, sync
from orchestrator.front.front_file import read_front
from orchestrator.record.folder import JOURNAL, LOCK
from orchestrator.record.journal import Journal


def rows(database: Path) -> dict[str, int]:
    """How many rows the tables hold in which a second delivery would show."""
    with sqlite3.connect(database) as store:
        tables = ("runs", "metrics", "params", "tags", "experiments")
        return {table: store.execute(f"select count(*) from {table}").fetchone()[0] for table in tables}


@pytest.mark.slow
def test_a_sweep_is_rebuilt_in_any_store_and_only_once(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    records, answers = detailed_sweep(6, replicated=1)
    folder = write_sweep(tmp_path / "sweep", demo_spec(), records, answers)
    uri = f"sqlite:///{tmp_path / 'other.db'}"
    said = procon("sync", folder, "--uri", uri)
    assert said.returncode == 0, said.stderr
    assert f"{len(records)} trials and references are in MLflow at {uri}" in said.stdout
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("demo").experiment_id
    runs = client.search_runs([experiment], max_results=100)
    by_trial = {run.data.tags["procon.trial"]: run for run in runs if "procon.trial" in run.data.tags}
    assert set(by_trial) == {record.id for record in records}
    for record in records:
        values = by_trial[record.id].data.metrics
        assert {name: values[name] for name in record.report.metrics} == record.report.metrics
    on_front = {trial for trial, run in by_trial.items() if run.data.tags.get("pareto") == "true"}
    assert on_front == set(read_front(folder).models["organism"].front)
    (parent,) = [run for run in runs if run.data.tags["procon.kind"] == "parent"]
    assert "front.html" in {file.path for file in client.list_artifacts(parent.info.run_id)}
    before = rows(tmp_path / "other.db")
    again = json.loads(procon("sync", folder, "--uri", uri, "--json").stdout)
    assert again["undelivered"] == 0
    assert rows(tmp_path / "other.db") == before


def test_a_folder_that_is_driven_and_a_store_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", demo_spec(), [])
    refused = procon("sync", folder, "--uri", "ftp://nowhere")
    assert (refused.returncode, "ftp://nowhere" in refused.stderr) == (2, True)
    journal = Journal(folder / JOURNAL)
    (folder / LOCK).write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}), encoding="utf-8")
    assert "delivers to MLflow itself" in procon("sync", folder).stderr
    journal.close()


def test_a_login_in_the_address_opens_the_store_and_is_not_kept(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The true MLflow application behind a door that asks who comes."""
    from mlflow.server import ARTIFACT_ROOT_ENV_VAR, BACKEND_STORE_URI_ENV_VAR, app
    from werkzeug.serving import make_server

    shutil.copy(empty_store, tmp_path / "server.db")
    monkeypatch.setenv(BACKEND_STORE_URI_ENV_VAR, f"sqlite:///{tmp_path}/server.db")
    monkeypatch.setattr("mlflow.server.handlers._tracking_store", None)  # which a test before may have left
    monkeypatch.setenv(ARTIFACT_ROOT_ENV_VAR, str(tmp_path / "artifacts"))
    login = "Basic " + base64.b64encode(b"ada:enchantress").decode()

    def door(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/health" and environ.get("HTTP_AUTHORIZATION") != login:
            start_response("401 Unauthorized", [("Content-Type", "text/plain")])
            return [b"who are you?"]
        answer: Iterable[bytes] = app(environ, start_response)
        return answer

    folder = write_sweep(tmp_path / "sweep", demo_spec(), [])
    server = make_server("127.0.0.1", 0, door, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        address = f"http://ada:enchantress@127.0.0.1:{server.server_port}"
        found = sync(folder, address)
        again = sync(folder, address)
    finally:
        server.shutdown()
        thread.join()
    assert (found.undelivered, again.undelivered, found.uri) == (0, 0, address.replace("ada:enchantress", "***"))
    kept = (folder / RUNS).read_text()
    assert "enchantress" not in kept
    assert list(json.loads(kept)) == [found.uri], "runs are found again under the address without its login"
