"""Memory that runs out: smaller micro-batches on a device, another machine where a host has none left."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from test_worker import FOUND, SPEC, Bench, Handle, handle, setup_in

from orchestrator.slots.broker import Broker
from orchestrator.slots.errors import FailedError, RestartNeededError
from orchestrator.slots.group_callbacks import Failures
from orchestrator.slots.line import Line
from orchestrator.slots.messages import Assignment, Job, Update
from orchestrator.slots.serve import serve
from training.config import ModelConfig
from training.distributed.deepspeed_config import BatchSizes
from training.evaluation.measure import Measurement
from training.loop.train import MemoryRanOut

__all__ = ["handle"]

REASON = "memory ran out on rank 0 in step 1, with a micro-batch of {} (CUDA out of memory)"


class Device:
    """Stands where the workbench does: it trains with so many samples at once and no more.

    Args:
        fits: how many.
        sharded: whether the model is in shards.
    """

    def __init__(self, fits: int, *, sharded: bool = False) -> None:
        self.tried: list[int] = []
        self._fits = fits
        self._sharded = sharded
        self.bench = Bench(lambda _report: FOUND)
        self.bench.run = self._run  # type: ignore[method-assign]

    def _run(self, trial: Any, _report: Any, *, at_most: int | None, **_given: Any) -> Measurement:
        sizes = BatchSizes.derive(trial, 1, at_most)
        self.tried.append(sizes.micro_batch_size)
        if sizes.micro_batch_size > self._fits:
            raise MemoryRanOut(0, sizes, "CUDA out of memory", sharded=self._sharded)
        return FOUND


def job(number: int, model: str = "m") -> Job:
    trial = SPEC.trial.model_copy(update={"batch_size": 32})
    return Job(f"{model}-{number}", ModelConfig(name=model, path="organism/small"), trial, judged=False)


def given(handle: Handle, one: Job) -> Assignment:
    handle.ask("submit", one)
    assignment = handle.ask("next_job", 0, 0.1)
    assert isinstance(assignment, Assignment)
    return assignment


def serving(handle: Handle, assignment: Assignment, device: Device, folder: Path, *, speaks: bool = True) -> None:
    serve(assignment, device.bench, folder / "checkpoints", Line(handle, setup_in(folder), assignment, speaks=speaks))


def end_of(handle: Handle, one: str) -> Update:
    return handle.ask("poll", one, 0, 0.1)[-1]


def sentence(trial: str, micro: int, smaller: int, model: str = "m") -> str:
    return (
        f"{trial}: {REASON.format(micro)}; it goes on from its last checkpoint, and later trials of {model} begin, "
        f"with micro-batches of {smaller}: the global batch stays, by accumulation"
    )


def test_a_trial_goes_on_with_what_fits_and_the_next_one_begins_so(handle: Handle, tmp_path: Path) -> None:
    device = Device(8)
    serving(handle, given(handle, job(0)), device, tmp_path)
    assert device.tried == [32, 16, 8]
    assert end_of(handle, "m-0").report.metrics["train/micro_batch_size"] == 8
    assert handle.ask("news", 0).notes == [sentence("m-0", 32, 16), sentence("m-0", 16, 8)]
    serving(handle, given(handle, job(1)), device, tmp_path)
    assert device.tried[3:] == [8]
    assert end_of(handle, "m-1").report.metrics["train/micro_batch_size"] == 8
    serving(handle, given(handle, job(0, "other")), Device(64), tmp_path)
    assert "train/micro_batch_size" not in end_of(handle, "other-0").report.metrics, "another model has its own room"


def test_a_single_sample_that_does_not_fit_is_a_sentence(handle: Handle, tmp_path: Path) -> None:
    device = Device(0)
    serving(handle, given(handle, job(0)), device, tmp_path)
    assert device.tried == [32, 16, 8, 4, 2, 1]
    assert end_of(handle, "m-0").error == (
        f"{REASON.format(1)}: set trial.gradient_checkpointing, lower trial.max_length, or ask procon plan what would "
        "fit"
    )


@pytest.mark.parametrize("alone", [True, False], ids=["in shards", "two ranks"])
def test_where_the_process_cannot_go_on_its_group_is_started_anew_as_often_as_it_takes(
    handle: Handle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    if not alone:
        monkeypatch.setattr("training.distributed.ranks.world_size", lambda: 2)
    device, assignment = Device(2, sharded=alone), given(handle, job(0))
    for micro in (32, 16, 8, 4):
        assert assignment.at_most == (None if micro == 32 else micro)
        with pytest.raises(RestartNeededError, match=f"micro-batch of {micro}"):
            serving(handle, assignment, device, tmp_path)
        handle.ask("slot_failed", 0, "its workers are started anew after an error")
        handle.ask("slot_started", 0, f"after {micro}", 2)
        assignment = handle.ask("next_job", 0, 0.1)
    serving(handle, assignment, device, tmp_path)
    assert end_of(handle, "m-0").kind == "measured"
    assert device.tried == [32, 16, 8, 4, 2]


def test_any_rank_may_say_it(handle: Handle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.distributed.ranks.world_size", lambda: 2)
    assignment = given(handle, job(0))
    with pytest.raises(RestartNeededError):
        serving(handle, assignment, Device(16), tmp_path, speaks=False)
    with pytest.raises(RestartNeededError):
        serving(handle, assignment, Device(16), tmp_path)
    assert handle.ask("news", 0).notes == [sentence("m-0", 32, 16)], "once for all ranks"
    with pytest.raises(FailedError, match=r"memory ran out .* with a micro-batch of 1 .*: set trial.gradient_check"):
        serving(handle, Assignment(assignment.job, assignment.attempt, 1), Device(0), tmp_path, speaks=False)


def test_an_error_of_another_rank_counts_after_reports_of_the_first(handle: Handle, tmp_path: Path) -> None:
    assignment = given(handle, job(0))
    first, second = (Line(handle, setup_in(tmp_path), assignment, speaks=speaks) for speaks in (True, False))
    first.say(Update("step", 1))
    first.say(Update("step", 2))
    second.fail("an index is out of range")
    assert end_of(handle, "m-0").error == "an index is out of range"


def test_a_broker_that_is_started_again_remembers(tmp_path: Path) -> None:
    handle, path = Handle(), tmp_path / "log"
    handle.broker = Broker(slots=1, log=path)
    assignment = given(handle, job(0))
    handle.ask("memory_ran_out", 0, "m-0", assignment.attempt, 16, REASON.format(32))
    handle.broker = Broker(slots=1, log=path)
    handle.ask("slot_failed", 0, "its workers are started anew after an error")
    handle.ask("slot_started", 0, "another", 1)
    assert handle.ask("next_job", 0, 0.1).at_most == 16
    handle.loop.close()


class TestHosts:
    def test_a_trial_is_moved_once_and_then_failed_with_what_may_help(self, handle: Handle) -> None:
        given(handle, job(0))
        self.starve(handle, "first")
        assert handle.ask("next_job", 0, 0.1).job.id == "m-0"
        handle.ask("report", 0, "m-0", 2, 1, Update("step", 5))
        self.starve(handle, "second")
        assert end_of(handle, "m-0").error == (
            "Ray ended its worker 0, whose machine had no memory left, 2 times: lower resources.max_concurrent or "
            "trial.micro_batch_size, take machines with more memory, or ask procon plan what would fit"
        )

    def test_another_loss_in_between_is_not_counted(self, handle: Handle) -> None:
        given(handle, job(0))
        self.starve(handle, "first")
        handle.ask("next_job", 0, 0.1)
        handle.ask("slot_failed", 0, "its worker 0 died")
        handle.ask("slot_started", 0, "second", 1)
        assert handle.ask("next_job", 0, 0.1).job.id == "m-0"

    def starve(self, handle: Handle, group: str) -> None:
        handle.ask("slot_failed", 0, "Ray ended its worker 0, whose machine had no memory left", True)
        handle.ask("slot_started", 0, group, 1)

    @pytest.mark.parametrize(
        ("error", "told"),
        [
            (OutOfMemoryError("low on memory"), ("Ray ended its worker 1, whose machine had no memory left", True)),
            (ActorDiedError(), ("its worker 1 died", False)),
        ],
    )
    def test_the_controller_tells_why_its_worker_died(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception, told: tuple[str, bool]
    ) -> None:
        heard: list[Any] = []
        actor = SimpleNamespace(slot_failed=SimpleNamespace(remote=lambda *given: heard.append(given)))
        monkeypatch.setattr("ray.get_actor", lambda *_given, **_named: actor)
        failures: Callable[..., None] = Failures(3, "broker", "here").after_exception
        failures(None, {1: WorkerHealthCheckFailedError("dead", error)})
        assert heard == [(3, *told)]
