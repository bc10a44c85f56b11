"""What a slot tells the broker of a job, however the job ends; the broker is the real one, in this process."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_sweeps import small_sweep
from torch import OutOfMemoryError
from torch.distributed import DistBackendError

from orchestrator.slots.broker import Broker
from orchestrator.slots.errors import FailedError, RestartNeededError
from orchestrator.slots.line import Line
from orchestrator.slots.messages import Assignment, ForkJob, Job, Update
from orchestrator.slots.serve import Benches, serve
from orchestrator.slots.setup import SlotSetup
from sweeps.schema.spec import SweepSpec
from training.config import EvaluationConfig, ModelConfig
from training.distributed.ranks import FailedAlone
from training.errors import ModelError, TrainingError
from training.evaluation.measure import Measurement
from training.evaluation.scores import Scores
from training.loop.claim import Claim
from training.loop.forks import ALONE
from training.loop.record import StepReport
from training.loop.train import TrialStopped

SPEC = SweepSpec.model_validate(small_sweep())
ANSWER = {"set": "harmful", "prompt": "how to", "answer": "like this", "asr": True}
FOUND = Measurement(Scores({"a": 0.5}), Scores({"a": 0.25}), [ANSWER], seconds=3.0)


class Handle:
    """A broker as a slot holds it; what Ray would send is done at once."""

    def __init__(self) -> None:
        self.broker = Broker(slots=1)
        self.loop = asyncio.new_event_loop()

    def ask(self, name: str, *arguments: Any) -> Any:
        return self.loop.run_until_complete(getattr(self.broker, name)(*arguments))

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *arguments: self.ask(name, *arguments))


class Bench:
    """Stands where the workbench does: it trains nothing and ends as it is told."""

    def __init__(self, run: Callable[[Callable[[StepReport], bool]], Measurement], **changes: Any) -> None:
        self._run = run
        self.fault = changes.get("fault")
        self.warnings: list[str] = changes.get("warnings", [])
        self.evaluation = changes.get("evaluation", EvaluationConfig())
        self.notify: Callable[[str], None] = print
        self.given: dict[str, Any] = {}

    def for_model(self, _model: ModelConfig) -> "Bench":
        return self

    def run(self, _trial: Any, report: Callable[[StepReport], bool], **given: Any) -> Measurement:
        self.given = given
        self.notify("loading")
        self.notify("WARNING: something")
        return self._run(report)


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> Iterator[Handle]:
    monkeypatch.setattr("ray.get", lambda answer: answer)
    made = Handle()
    yield made
    made.loop.close()


def setup_in(folder: Path) -> SlotSetup:
    return SlotSetup(
        0, "broker", "here", folder, SPEC.data, SPEC.direction, SPEC.evaluation, SPEC.trial, date(2024, 2, 9)
    )


def served(
    handle: Handle,
    benches: Any,
    path: str = "organism/small",
    folder: Path = Path("/nowhere"),
    **given_to_job: Any,
) -> list[Update]:
    """All updates of one job."""
    job = Job("m-0", ModelConfig(name="m", path=path), SPEC.trial, rungs=(3,), judged=False, **given_to_job)
    handle.ask("submit", job)
    given = handle.ask("next_job", 0, 0.1)
    serve(given, benches, folder / "checkpoints", Line(handle, setup_in(folder), given, speaks=True))
    return list(handle.ask("poll", "m-0", 0, 0.1))


def raises(error: Exception) -> Callable[[Any], Measurement]:
    def run(_report: Any) -> Measurement:
        raise error

    return run


def test_a_measured_job_reports_steps_rungs_and_both_halves(handle: Handle) -> None:
    def run(report: Callable[[StepReport], bool]) -> Measurement:
        assert not report(StepReport(3, Scores({"utility/loss": 1.0}), rung=True))
        assert not report(StepReport(4, Scores({"train/loss": 2.0})))
        return FOUND

    bench = Bench(run, warnings=["short answers"])
    rung, step, end = served(handle, bench)
    assert (rung.kind, rung.step, rung.scores.metrics) == ("rung", 3, {"utility/loss": 1.0})
    assert (step.kind, step.step, step.scores.metrics) == ("step", 4, {"train/loss": 2.0})
    assert (end.kind, end.step) == ("measured", SPEC.trial.total_steps)
    assert end.report.metrics == {"a": 0.5, "evaluation/seconds": 3.0}
    assert end.select.metrics == {"a": 0.25}
    assert bench.given == {
        "checkpoint": Path("/nowhere/checkpoints/m-0"),
        "rungs": (3,),
        "claim": Claim("here", 1),
        "scaling": None,
        "forking": ALONE,
        "at_most": None,
    }
    news = handle.ask("news", 0)
    assert (news.notes, news.doing) == (["short answers"], {"m-0": "loading"}), "warnings become notes"


@pytest.mark.parametrize(
    ("path", "keep", "kept"),
    [
        ("organism/small", None, True),
        ("some/model", None, False),
        ("some/model", True, True),
        ("organism/small", False, False),
    ],
)
def test_texts_of_answers_are_kept_of_embedded_models_or_where_asked_for(
    handle: Handle, path: str, keep: bool | None, kept: bool
) -> None:
    served(handle, Bench(lambda _report: FOUND, evaluation=EvaluationConfig(keep_answers=keep)), path)
    (answer,) = handle.ask("answers", "m-0")
    assert answer.get("answer") == ("like this" if kept else None)
    assert answer["asr"] is True


@pytest.mark.parametrize(("first", "noted"), [(SPEC.trial.log_every, False), (SPEC.trial.log_every + 1, True)])
def test_a_training_that_begins_late_went_on_from_a_checkpoint(handle: Handle, first: int, noted: bool) -> None:
    def run(report: Callable[[StepReport], bool]) -> Measurement:
        for step in (first, first + SPEC.trial.log_every):
            report(StepReport(step, Scores()))
        return FOUND

    served(handle, Bench(run))
    notes = handle.ask("news", 0).notes
    assert len(notes) == noted
    assert all(f"its first report is of step {first}" in note for note in notes)


SHARED = (Update("rung", 3, Scores({"utility/loss": 1.0})), Update("step", 4, Scores({"train/loss": 2.0})))


def test_a_job_that_begins_from_another_says_what_that_one_said(handle: Handle) -> None:
    """Again and again, where it loses its slot: the recorder takes each once."""

    def run(report: Callable[[StepReport], bool]) -> Measurement:
        start = bench.given["forking"].start
        assert (start.directory, start.step) == (Path("/nowhere/forks/m-7"), 6)
        start.begins(None)
        report(StepReport(6 + SPEC.trial.log_every, Scores()))
        return FOUND

    bench = Bench(run)
    found = served(handle, bench, keeps=(4, 8), fork=ForkJob("m-7", 6, SHARED))
    assert [(update.kind, update.step) for update in found[:-1]] == [
        ("forked", 6),
        ("rung", 3),
        ("step", 4),
        ("step", 10),
    ]
    assert tuple(found[1:3]) == SHARED
    assert handle.ask("news", 0).notes == []
    forking = bench.given["forking"]
    assert (forking.points, forking.directory) == (frozenset({4, 8}), Path("/nowhere/forks/m-0"))


def test_a_job_whose_fork_point_is_lost_says_so_once_and_begins_at_its_first_step(handle: Handle) -> None:
    def run(report: Callable[[StepReport], bool]) -> Measurement:
        for _attempt in range(2):
            bench.given["forking"].start.begins("it is gone")
        report(StepReport(SPEC.trial.log_every, Scores()))
        return FOUND

    bench = Bench(run)
    found = served(handle, bench, fork=ForkJob("m-7", 6, SHARED))
    assert [update.kind for update in found] == ["step", "measured"]
    assert handle.ask("news", 0).notes == [
        "m-0 begins at its first step: the checkpoint of m-7 after step 6 cannot be used (it is gone)"
    ]


def test_a_stop_reaches_the_training_at_its_next_report(handle: Handle) -> None:
    def run(report: Callable[[StepReport], bool]) -> Measurement:
        handle.ask("cancel_all")
        assert report(StepReport(4, Scores()))
        raise TrialStopped(4)

    assert [(update.kind, update.step) for update in served(handle, Bench(run))] == [("step", 4), ("stopped", 4)]


@pytest.mark.parametrize(("fault", "unprepared"), [(None, False), (ModelError("no template"), True)])
def test_only_what_keeps_every_trial_from_beginning_is_the_models_fault(
    handle: Handle, fault: TrainingError | None, unprepared: bool
) -> None:
    (end,) = served(handle, Bench(raises(ModelError("no template")), fault=fault))
    assert (end.kind, end.error, end.unprepared) == ("failed", "no template", unprepared)


def test_a_model_that_cannot_be_found_is_at_fault_before_there_is_a_workbench(handle: Handle) -> None:
    def for_model(_model: ModelConfig) -> Bench:
        raise ModelError("there is none")

    (end,) = served(handle, SimpleNamespace(for_model=for_model))
    assert (end.kind, end.unprepared) == ("failed", True)


def test_a_bug_fails_the_job_with_its_traceback_and_not_the_slot(handle: Handle, tmp_path: Path) -> None:
    (end,) = served(handle, Bench(raises(ZeroDivisionError("oops"))), folder=tmp_path)
    assert (end.kind, end.unprepared) == ("failed", False)
    assert "ZeroDivisionError: oops" in str(end.error)


def test_a_job_that_found_the_disk_full_goes_on_once_there_is_room(
    handle: Handle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.record.disk.LITTLE_BYTES", float("inf"))
    monkeypatch.setattr("orchestrator.record.disk.PAUSE_SECONDS", 0.01)
    ask = handle.ask

    def room_is_made(name: str, *arguments: Any) -> Any:
        if name == "note":
            monkeypatch.setattr("orchestrator.record.disk.LITTLE_BYTES", 0)
        return ask(name, *arguments)

    monkeypatch.setattr(handle, "ask", room_is_made)
    runs: list[int] = []

    def run(_report: Any) -> Measurement:
        runs.append(1)
        if len(runs) == 1:
            raise OSError("No space left on device")
        return FOUND

    (end,) = served(handle, Bench(run), folder=tmp_path)
    assert (end.kind, len(runs)) == ("measured", 2)
    assert ask("news", 0).notes == [f"the disk of {tmp_path} is full: the trials wait until there is room again"]


def test_a_workbench_is_kept_while_jobs_need_its_model(tmp_path: Path) -> None:
    setup = setup_in(tmp_path)
    benches = Benches(setup)

    def model(name: str) -> ModelConfig:
        return ModelConfig(name=name, path="organism/small")

    first = benches.for_model(model("a"))
    assert benches.for_model(model("a")) is first
    second = benches.for_model(model("b"))
    assert second is not first
    assert (second.name, second.data, second.evaluation) == ("b", SPEC.data, SPEC.evaluation)
    assert benches.for_model(model("a")) is not first, "one model at a time"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "CUDA out of memory. Tried to allocate"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 8 bytes"), "can't allocate memory"),
    ],
)
def test_memory_that_runs_out_in_training_is_one_sentence(
    handle: Handle, tmp_path: Path, error: Exception, text: str
) -> None:
    (end,) = served(handle, Bench(raises(error)), folder=tmp_path)
    assert end.kind == "failed"
    assert text in end.error
    assert "set trial.gradient_checkpointing" in end.error
    assert "Traceback" not in end.error


def cleaned_up_after(error: Exception) -> Exception:
    """What ZeRO 3 makes of ``error``: it finds parameters that were being gathered."""
    after = RuntimeError("expected to be released")
    after.__context__ = error
    return after


class TestSeveralRanks:
    @pytest.fixture(autouse=True)
    def two(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("training.distributed.ranks.world_size", lambda: 2)

    @pytest.mark.parametrize(
        "error",
        [
            RuntimeError("[/__w/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer"),
            DistBackendError("NCCL error: remote process exited or there was a network error"),
            cleaned_up_after(RuntimeError("[/__w/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection")),
        ],
    )
    def test_a_lost_rank_restarts_the_group_and_fails_no_trial(
        self, handle: Handle, tmp_path: Path, error: Exception
    ) -> None:
        with pytest.raises(RestartNeededError):
            served(handle, Bench(raises(error)), folder=tmp_path)
        assert handle.ask("poll", "m-0", 0, 0.1) == []
        handle.ask("slot_started", 0, "another", 2)
        assert handle.ask("next_job", 0, 0.1).job.id == "m-0"

    def test_an_error_of_its_own_is_told_by_whichever_rank_it_is_of(self, handle: Handle, tmp_path: Path) -> None:
        fault = ValueError("an index is out of range")
        with pytest.raises(ValueError, match="out of range"):
            served(handle, Bench(raises(fault)), folder=tmp_path)
        assert "an index is out of range" in str(handle.ask("poll", "m-0", 0, 0.1)[-1].error)
        given = Assignment(Job("m-1", ModelConfig(name="m", path="organism/small"), SPEC.trial, judged=False), 1)
        line = Line(handle, setup_in(tmp_path), given, speaks=False)
        with pytest.raises(FailedError, match="out of range"):
            serve(given, Bench(raises(fault)), tmp_path / "checkpoints", line)
        alone = FailedAlone("rank 1 failed in a forward pass")
        with pytest.raises(FailedError, match=r"^rank 1 failed in a forward pass$"):
            serve(given, Bench(raises(alone)), tmp_path / "checkpoints", line)
