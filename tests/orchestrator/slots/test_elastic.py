"""Trials that go on with fewer workers: real raylets, one of which is killed, and another that comes later."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from raylets import add, raylets
from small_sweeps import Run, small_sweep

from orchestrator.record.events import Event
from sweeps.schema.resources import ResourcesConfig


def losses(events: list[Event], trial: str) -> dict[int, float]:
    """What a trial reported last at each step."""
    reports = [event for event in events if event["event"] == "trial_reported" and event["id"] == trial]
    return {event["step"]: event["metrics"]["train/loss"] for event in reports}


def ended(events: list[Event]) -> dict[str, dict[str, Any]]:
    return {event["id"]: event for event in events if event["event"] == "trial_ended"}


@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, 3])
def test_a_group_that_lost_a_node_goes_on_smaller_and_grows_again(
    start_sweep: Callable[..., Run], tmp_path: Path, stage: int
) -> None:
    trial = {**small_sweep()["trial"], "steps": 60, "checkpoint_every": 10, "deepspeed": {"zero_stage": stage}}
    spec = small_sweep(trials=1, trial=trial, resources={"workers": 2, "min_workers": 1})
    with raylets(one={"CPU": 1}, two={"CPU": 1}) as (cluster, nodes):
        undisturbed = start_sweep(tmp_path / "undisturbed", spec, "--address", cluster.address)
        code, output = undisturbed.finish()
        assert code == 0, output
        expected = losses(undisturbed.events, "small-ift")
        run = start_sweep(tmp_path / "disturbed", spec, "--address", cluster.address)
        run.wait_for(lambda events: max(losses(events, "small-ift"), default=0) >= 16)
        cluster.remove_node(nodes["two"], allow_graceful=False)
        run.wait_for(lambda events: "small-ift" in ended(events))
        add(cluster, {"CPU": 1})
        code, output = run.finish()
        assert code == 0, output
        assert "small-ift is trained by 1 of 2 workers: its global batch stays 16 samples, by accumulation" in output
        assert "small-ift went on from its last checkpoint" in output
        assert "there is room for all 2 of its workers again" in output
        assert losses(run.events, "small-ift") == pytest.approx(expected, rel=1e-3)
        workers = {trial: event["metrics"]["train/workers"] for trial, event in ended(run.events).items()}
        assert (workers["small-ift"], workers["small-0"]) == (1.0, 2.0)
        assert "small-ift (1)" in output, "the front says so"


@pytest.mark.parametrize(
    ("given", "sizes"),
    [
        ({"workers": 8, "min_workers": 2}, (2, 4, 8)),
        ({"workers": 6, "min_workers": 1}, (1, 2, 3, 6)),
        ({"workers": 4}, (4,)),
        ({"workers": 2, "min_workers": 3}, r"min_workers \(3\) is more than workers \(2\): lower it"),
        ({"workers": 3, "min_workers": 2}, r"min_workers \(2\) leaves no size but all 3 workers.*divide 3: lower"),
    ],
)
def test_a_group_may_have_the_sizes_that_share_a_batch(given: dict[str, int], sizes: tuple[int, ...] | str) -> None:
    if isinstance(sizes, str):
        with pytest.raises(ValidationError, match=sizes):
            ResourcesConfig.model_validate(given)
    else:
        assert ResourcesConfig.model_validate(given).sizes == sizes
