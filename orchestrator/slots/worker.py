"""The train loop of a warm slot: takes jobs one after another, with weights, data and references staying loaded."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.record.disk import is_full, wait_for_room
from orchestrator.record.folder import CHECKPOINTS
from orchestrator.slots.messages import CLOSE, Job, Update
from training.config import DataConfig, DirectionConfig, EvaluationConfig, ModelConfig, TrialConfig

if TYPE_CHECKING:
    from training.workbench import Measurement, Workbench

IDLE_SECONDS = 20.0
"""How long an idle slot waits for a job before it tells its other ranks that it is still there."""


@dataclass(frozen=True)
class SlotSetup:
    """What a slot is told when it starts; the same on every rank."""

    slot: int
    """Its index."""
    broker: str
    """Name of the broker actor."""
    namespace: str
    """The Ray namespace the broker lives in."""
    directory: Path
    """The sweep's output folder."""
    data: DataConfig
    """Sources with absolute paths."""
    direction: DirectionConfig
    """How the refusal direction is extracted."""
    evaluation: EvaluationConfig
    """How trials are measured."""
    like: TrialConfig
    """The trial in whose form (precision, 4 bits, shards) the untouched model is loaded and measured."""
    day: date
    """That the prompts are of, where a chat template prints the date."""


def slot_loop(setup: SlotSetup) -> None:
    """Serve jobs until the broker closes; runs on every rank of the slot's Ray Train worker group."""
    import ray
    import ray.train

    from training.importing import importing

    with importing():
        import training.workbench  # noqa: F401
        from training.distributed.process import start_process

        start_process()
    rank = ray.train.get_context().get_world_rank()
    anyone = ray.get_actor(setup.broker, namespace=setup.namespace)
    broker = anyone if rank == 0 else None
    if broker is not None:
        ray.get(broker.slot_started.remote(setup.slot))
    benches = _Benches(setup)
    while True:
        job = ray.get(broker.next_job.remote(setup.slot, IDLE_SECONDS)) if broker is not None else None
        job = _broadcast(job)
        if job == CLOSE:
            return
        if isinstance(job, Job):
            try:
                _serve(job, benches, setup.directory / CHECKPOINTS, broker, setup.slot)
            except _FailedError as failed:  # on this rank, of which rank 0 sees no more than a broken connection
                ray.get(anyone.report.remote(setup.slot, job.id, Update("failed", error=str(failed))))
                raise


def _broadcast(job: Job | str | None) -> Job | str | None:
    """Rank 0's job, on every rank."""
    from torch import distributed

    from training.distributed.ranks import world_size

    if world_size() == 1:
        return job
    box = [job]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


class _Benches:
    """The one workbench that is loaded, exchanged when a job needs another model."""

    def __init__(self, setup: SlotSetup) -> None:
        self._setup = setup
        self._loaded: tuple[ModelConfig, Workbench] | None = None

    def for_model(self, model: ModelConfig) -> "Workbench":
        from training.workbench import Workbench

        if self._loaded is None or self._loaded[0] != model:
            self._loaded = None  # frees the former model before the next one is loaded
            setup = self._setup
            bench = Workbench.of(
                model,
                setup.data,
                setup.direction,
                setup.evaluation,
                setup.directory,
                like=setup.like,
                day=setup.day,
            )
            self._loaded = (model, bench)
        return self._loaded[1]


def _serve(job: Job, benches: _Benches, checkpoints: Path, broker: Any, slot: int) -> None:
    """Run one job, from its last checkpoint where it has one, and report how it ended.

    What one trial does wrong never ends a slot of one rank.

    Raises:
        _FailedError: it failed on this rank, which is not the one that talks to the broker.
        _RestartNeededError: another rank is gone, or every rank stands without room on the disk.
    """
    import ray

    from training.distributed.ranks import FailedAlone, is_of_another_rank, rank, world_size
    from training.errors import TrainingError
    from training.evaluation.answers import without_text
    from training.evaluation.scores import Scores
    from training.loop.train import StepReport, TrialStopped
    from training.models.batching import is_out_of_memory

    trial = job.trial

    def say(update: Update, answers: list[dict[str, Any]] | None = None) -> bool:
        return bool(ray.get(broker.report.remote(slot, job.id, update, answers))) if broker is not None else False

    def note(sentence: str) -> None:
        if broker is not None:
            ray.get(broker.note.remote([sentence]))

    def does(what: str) -> None:
        if broker is not None and not what.startswith("WARNING"):  # which becomes a note
            broker.does.remote(job.id, what)  # nobody waits for it

    reported = False

    def on_step(report: StepReport) -> bool:
        nonlocal reported
        if not reported and trial is not None and report.step > trial.log_every:
            note(f"{job.id} went on from its last checkpoint: its first report is of step {report.step}")
        reported = True
        kind: Literal["step", "rung"] = "rung" if report.rung else "step"
        return say(Update(kind, report.step, report.scores))

    bench = None
    try:
        bench = benches.for_model(job.model)
        bench.notify = does
        run = partial(bench.run, trial, on_step, checkpoint=checkpoints / job.id, rungs=job.rungs)
        found = _with_room(run, checkpoints.parent, note)
        for warning in bench.warnings:
            note(warning)
        measured = Update(
            "measured",
            trial.total_steps if trial is not None else 0,
            report=found.report.joined(Scores({"evaluation/seconds": found.seconds})),
            select=found.select,
        )
        keeps_text = bench.evaluation.keeps_text(embedded=job.model.embedded)
        kept = found.answers if keeps_text else without_text(found.answers)
        say(measured, kept)
    except TrialStopped as stopped:
        say(Update("stopped", step=stopped.step))
    except _RestartNeededError:
        raise
    except TrainingError as error:  # raised alike on every rank
        say(Update("failed", error=str(error), unprepared=bench is None or bench.fault is not None))
    except Exception as error:
        if world_size() > 1 and is_of_another_rank(error):
            raise _RestartNeededError from error
        if isinstance(error, FailedAlone):
            text = str(error)
        elif isinstance(error, RuntimeError) and is_out_of_memory(error):
            text = (
                f"memory ran out on rank {rank()} ({str(error).strip().splitlines()[0]}): lower "
                "trial.micro_batch_size, set trial.gradient_checkpointing, or ask procon plan what would fit"
            )
        else:
            text = traceback.format_exc(limit=-6)
        if broker is None:
            raise _FailedError(text) from error
        say(Update("failed", error=text))
        if world_size() > 1:
            raise  # the other ranks may be waiting in a collective: only a restarted group is sound again


class _FailedError(Exception):
    """The job came to an error nobody foresaw on another rank than the first; the text is its traceback."""


class _RestartNeededError(Exception):
    """Ray Train has to restart the group of workers; its job then goes on from its checkpoint."""


def _with_room(run: Callable[[], "Measurement"], folder: Path, note: Callable[[str], None]) -> "Measurement":
    """What ``run`` measures; where it failed on a full disk, it goes on from its checkpoint once there is room."""
    from training.distributed.ranks import world_size
    from training.errors import TrainingError
    from training.loop.train import TrialStopped

    while True:
        try:
            return run()
        except (TrainingError, TrialStopped):
            raise
        except Exception as error:
            if not is_full(folder):
                raise
            note(f"the disk of {folder} is full: the trials wait until there is room again")
            wait_for_room(folder)
            if world_size() > 1:  # the other ranks may be waiting in a collective
                raise _RestartNeededError from error
