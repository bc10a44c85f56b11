"""Ray asks everybody for a token (``RAY_AUTH_MODE=token``): a sweep of its own, and one that joins a cluster."""

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_sweeps import Run, small_sweep

pytestmark = pytest.mark.slow
RAYLETS = """
import sys
sys.path.insert(0, sys.argv[1])
from raylets import raylets
with raylets({"RAY_AUTH_MODE": "token"}, one={"CPU": 1}, two={"CPU": 1}) as (cluster, _nodes):
    print("address", cluster.address, flush=True)
    sys.stdin.read()
"""
"""In a process of its own: each remembers the mode that it first had."""
TOKEN = secrets.token_hex(32)


@pytest.fixture
def asked_for_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)


@contextlib.contextmanager
def two_nodes() -> Iterator[str]:
    """The address of a cluster that asks for the token of this process's environment."""
    command = [sys.executable, "-c", RAYLETS, str(Path(__file__).parents[1])]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        said = next((line for line in process.stdout if line.startswith("address ")), "")
        assert said, "no Ray could be started"
        yield said.split()[1]
    finally:
        process.communicate(timeout=120)


def ended_well(run: Run) -> None:
    code, output = run.finish()
    assert code == 0, output
    assert TOKEN not in output
    assert {event["status"] for event in run.events if event["event"] == "trial_ended"} <= {"FINISHED", "PRUNED"}


@pytest.mark.usefixtures("asked_for_tokens")
def test_a_sweep_with_a_ray_of_its_own(start_sweep: Callable[..., Run], tmp_path: Path) -> None:
    ended_well(start_sweep(tmp_path, small_sweep(trials=1)))


@pytest.mark.usefixtures("asked_for_tokens")
def test_a_sweep_that_joins_a_cluster_and_one_without_the_token(
    start_sweep: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with two_nodes() as address:
        two_ranks = small_sweep(trials=1, resources={"workers": 2})
        ended_well(start_sweep(tmp_path / "with", two_ranks, "--address", address))
        monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        refused = start_sweep(tmp_path / "without", two_ranks, "--address", address)
        code, output = refused.finish(120)
        assert code == 2, output
        assert f"--address ({address}) cannot be joined" in output
        assert "Traceback" not in output
        assert not (tmp_path / "without/sweeps/out").exists()
        assert os.environ["RAY_AUTH_TOKEN"] not in output
