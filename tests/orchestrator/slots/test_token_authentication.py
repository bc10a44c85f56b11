"""Ray asks everybody for a token (``RAY_AUTH_MODE=token``): a sweep of its own, and one that joins a cluster."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
from raylets import raylets
from small_sweeps import Run, small_sweep

pytestmark = pytest.mark.slow
TOKEN = secrets.token_hex(32)


@pytest.fixture
def asked_for_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)


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
    of_cluster = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    with raylets(of_cluster, one={"CPU": 1}, two={"CPU": 1}) as (cluster, _nodes):
        two_ranks = small_sweep(trials=1, resources={"workers": 2})
        ended_well(start_sweep(tmp_path / "with", two_ranks, "--address", cluster.address))
        monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        refused = start_sweep(tmp_path / "without", two_ranks, "--address", cluster.address)
        code, output = refused.finish(120)
        assert code == 2, output
        assert f"--address ({cluster.address}) cannot be joined" in output
        assert "Traceback" not in output
        assert not (tmp_path / "without/sweeps/out").exists()
        assert os.environ["RAY_AUTH_TOKEN"] not in output
