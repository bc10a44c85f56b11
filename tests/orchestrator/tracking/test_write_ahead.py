"""Stores that procon makes keep a write-ahead log; whoever reads one while it is written is not held up."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.tracking import write_ahead
from orchestrator.tracking.index import RunIndex


def mode(store: Path) -> str:
    with closing(sqlite3.connect(store)) as opened:
        return str(opened.execute("PRAGMA journal_mode").fetchone()[0])


def index_of(store: Path) -> RunIndex:
    return RunIndex(f"sqlite:///{store}", "sweep", None, lambda key, run: None, {})


def test_a_new_store_is_read_while_another_process_writes(tmp_path: Path) -> None:
    store = tmp_path / "mlflow.db"
    assert index_of(store).find_or_create("one", "one", {})
    assert mode(store) == "wal"
    with closing(sqlite3.connect(store, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        assert MlflowClient(f"sqlite:///{store}").get_experiment_by_name("sweep") is not None


def test_a_store_that_was_left_is_one_file_and_may_be_used_again(tmp_path: Path) -> None:
    store = tmp_path / "mlflow.db"
    index = index_of(store)
    assert index.find_or_create("one", "one", {})
    assert len(list(tmp_path.iterdir())) == 3, "the log and its index"
    index.close()
    assert [file.name for file in tmp_path.iterdir()] == ["mlflow.db"]
    assert index.find_or_create("two", "two", {})
    assert index.find("one") != index.find("two")


def test_a_store_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    store = tmp_path / "mlflow.db"
    MlflowClient(f"sqlite:///{store}").search_experiments()
    assert index_of(store).find_or_create("one", "one", {})
    assert mode(store) == "delete"


def test_a_file_system_that_others_may_see_gets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_ahead, "LOCAL", frozenset())
    store = tmp_path / "mlflow.db"
    assert index_of(store).find_or_create("one", "one", {})
    assert mode(store) == "delete"


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1", "postgresql://h/db", "sqlite:///nowhere/at/all/mlflow.db"])
def test_nothing_is_made_of_another_address(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_ahead.make_with_log(uri)
    assert not list(tmp_path.iterdir())
