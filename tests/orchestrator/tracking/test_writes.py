"""A batch that goes straight into SQLite's tables leaves what MLflow's client would have left."""

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from orchestrator.tracking.writes import End, Write, _Client, _Tables, writer

BATCHES: list[tuple[list[Metric], list[Param], list[RunTag], End | None]] = [
    (
        [Metric("loss", 2.0, 10, 1), Metric("loss", 1.0, 20, 2), Metric("rate", 0.5, 20, 2)],
        [Param("alpha", "0.1"), Param("layers", "[0, 3]")],
        [RunTag("pareto", "false"), RunTag("note", "one")],
        None,
    ),
    ([Metric("loss", 3.0, 30, 1), Metric("rate", 0.5, 20, 2)], [Param("alpha", "0.1")], [RunTag("note", "two")], None),
    (
        [Metric("rate", 0.7, 20, 2), Metric("rate", 0.6, 20, 2), Metric("new", -1.0, 40, 0)],
        [],
        [RunTag("mlflow.runName", "other"), RunTag("pareto", "true")],
        End("KILLED", 50),
    ),
]


def rows(database: Path) -> dict[str, Any]:
    with sqlite3.connect(database) as store:
        return {
            table: sorted(store.execute(f"select {columns} from {table}").fetchall())
            for table, columns in {
                "metrics": "key, value, timestamp, step, is_nan",
                "latest_metrics": "key, value, timestamp, step, is_nan",
                "params": "key, value",
                "tags": "key, value",
                "runs": "name, status, end_time",
            }.items()
        }


def opened(empty_store: Path, database: Path) -> tuple[MlflowClient, str]:
    shutil.copy(empty_store, database)
    client = MlflowClient(f"sqlite:///{database}")
    return client, str(client.create_run("0", start_time=1, tags={"mlflow.user": "x"}, run_name="first").info.run_id)


def test_both_ways_leave_the_same_and_may_be_repeated(tmp_path: Path, empty_store: Path) -> None:
    found = []
    for name in ("client", "tables"):
        client, run = opened(empty_store, tmp_path / f"{name}.db")
        write: Write = _Client(client) if name == "client" else writer(client)
        assert isinstance(write, _Client if name == "client" else _Tables)
        for metrics, params, tags, end in BATCHES:
            write(run, metrics, params, tags, end)
        left = rows(tmp_path / f"{name}.db")
        write(run, *BATCHES[2])
        assert rows(tmp_path / f"{name}.db") == left
        found.append(left)
    assert found[0] == found[1]
    latest = {key: value for key, value, *_ in found[1]["latest_metrics"]}
    assert latest == {
        "loss": 1.0,
        "rate": 0.7,
        "new": -1.0,
    }


@pytest.mark.parametrize("kind", [_Client, _Tables])
def test_both_ways_refuse_the_same(tmp_path: Path, empty_store: Path, kind: type) -> None:
    client, run = opened(empty_store, tmp_path / "store.db")
    write = _Client(client) if kind is _Client else writer(client)
    write(run, [], [Param("alpha", "0.1")], [])
    for metrics, params in (
        ([Metric("m", 1.0, 1, 1)], [Param("alpha", "0.2")]),
        ([Metric("a\nb", 1.0, 1, 1)], []),
    ):
        before = rows(tmp_path / "store.db")
        with pytest.raises(MlflowException) as refused:
            write(run, metrics, params, [])
        assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
        assert rows(tmp_path / "store.db") == before
