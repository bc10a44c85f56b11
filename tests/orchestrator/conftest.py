"""Sweeps run as a user runs them: by the command, in a process of its own."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from small_sweeps import Cluster, Run

HEAD = """
import sys
import ray
from orchestrator.slots.cluster import connect
connect(None, "tests", gpus=False)
print("address", ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""
"""A local Ray, as ``procon run`` starts one, that waits for others to join."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One Ray for all sweeps of the tests that neither end it nor ask what it leaves behind."""
    process = subprocess.Popen(
        [sys.executable, "-c", HEAD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        said = next((line for line in process.stdout if line.startswith("address ")), "")
        assert said, "no Ray could be started"
        yield Cluster(process, said.split()[1])
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store with its tables: making them takes MLflow some seconds."""
    database = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(f"sqlite:///{database}").search_experiments()
    with contextlib.closing(sqlite3.connect(database)) as store:  # as procon makes it; all is in the one file by now
        store.execute("PRAGMA journal_mode = WAL")
    return database


@pytest.fixture(scope="session")
def start_sweep(empty_store: Path) -> Iterator[Callable[..., Run]]:
    """Starts ``procon run``; whatever is still running at the end is killed with all it started."""
    runs: list[Run] = []

    def start(folder: Path, spec: Mapping[str, Any] | None, *arguments: str, new_store: bool = False) -> Run:
        """``procon run`` of ``spec`` in ``folder``; without one, ``procon`` with ``arguments`` on what ran there.

        The sweep finds a store as an earlier one leaves it, unless it has to make a new one.
        """
        folder.mkdir(parents=True, exist_ok=True)
        out = folder / "sweeps/out"
        if spec is not None and not new_store:
            out.parent.mkdir(exist_ok=True)
            shutil.copy(empty_store, out.parent / "mlflow.db")
        command = [sys.executable, "-m", "orchestrator"]
        if spec is not None:
            (folder / "spec.yaml").write_text(yaml.safe_dump(dict(spec)))
            command += ["run", str(folder / "spec.yaml"), "--out", str(out)]
        process = subprocess.Popen(
            [*command, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            start_new_session=True,
            env={"RAY_AUTH_MODE": "disabled", **os.environ, "COLUMNS": "200"},
        )
        run = Run(process, out)
        runs.append(run)
        return run

    yield start
    for run in runs:
        if run.process.poll() is None:
            os.killpg(run.process.pid, signal.SIGKILL)
            run.process.wait()
