"""The train loop of a warm slot: takes jobs one after another, with weights, data and references staying loaded."""

import os
import shutil
import socket
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from orchestrator.record.disk import is_full, wait_for_room
from orchestrator.record.folder import CHECKPOINTS, FORKS
from orchestrator.slots.announced import notice
from orchestrator.slots.messages import CLOSE, LEAVE, SCALE, Assignment, Job, ScaledScores, ScalingJob, Update
from orchestrator.slots.pulse import Pulse
from orchestrator.slots.scaling import worthwhile
from orchestrator.slots.shared_storage import Sight, node_name
from training.config import DataConfig, DirectionConfig, EvaluationConfig, ModelConfig, TrialConfig
from training.evaluation.scores import Scores
from training.loop.claim import Claim
from training.storage.address import made_local_folder
from training.storage.cache import in_use

if TYPE_CHECKING:
    from training.evaluation.measure import ScaledMeasurement
    from training.loop.forks import Forking
    from training.workbench import Measurement, Workbench
    from training.workbench.scaled import Scaling

Anything = TypeVar("Anything")
WORKERS = "train/workers"
"""Beside what a trial measured: how many workers it had in the end, where that may change."""
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
    silence: float = 60.0
    """Seconds after which a worker that gives no sign of life is held to be lost."""
    sight: Sight | None = None
    """What this machine has to see of the sweep's files; None where it is the driver's own."""
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables of the driver's environment that hold secrets; none where workers inherit it."""
    address: str | None = None
    """Of the sweep's place in a bucket; None where ``directory`` is a folder that all machines see."""
    sizes: tuple[int, ...] = ()
    """How many workers a trial may have, ascending; none where that is always the same."""

    @property
    def workers(self) -> int | None:
        """How many a trial has unless nodes were lost; None where it never has fewer."""
        return self.sizes[-1] if self.sizes else None

    def here(self) -> "SlotSetup":
        """The same with this machine's own folder, where the sweep is in a bucket."""
        return self if self.address is None else replace(self, directory=made_local_folder(self.address))


def slot_loop(setup: SlotSetup) -> None:
    """Serve jobs until the broker closes; runs on every rank of the slot's Ray Train worker group."""
    import ray
    import ray.train

    from training.importing import importing

    os.environ.update(setup.keys)
    setup = setup.here()
    with importing():
        import training.workbench  # noqa: F401
        from training.distributed.process import start_process

        start_process()
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    broker = ray.get_actor(setup.broker, namespace=setup.namespace)
    if setup.sight is not None:
        _check_sight(setup.sight, broker)
    group = _of_rank_zero(uuid.uuid4().hex)
    with Pulse(broker, setup.slot, group, rank, workers, setup.silence):
        if rank == 0:
            ray.get(broker.slot_started.remote(setup.slot, group, workers))
        benches = _Benches(setup)
        full = workers if setup.workers is None else setup.workers
        missing = full - workers
        room_before = _room() if missing else 0
        while True:
            if missing and rank == 0 and room_before < missing <= _room():
                told = f"there is room for all {full} of its workers again"
                ray.get(broker.slot_leaves.remote(setup.slot, group, told))
            given = ray.get(broker.next_job.remote(setup.slot, IDLE_SECONDS)) if rank == 0 else None
            given = _of_rank_zero(given)
            if given == CLOSE:
                return
            if given == LEAVE:
                raise _RestartNeededError("its workers have to be elsewhere, or more")
            if isinstance(given, Assignment):
                line = Line(broker, setup, given, speaks=rank == 0, group=group)
                checkpoints = setup.directory / CHECKPOINTS
                try:
                    with nullcontext() if setup.address is None else in_use(checkpoints / given.job.id):
                        _serve(given, benches, checkpoints, line)
                    if setup.address is not None:  # the bucket has them, and whoever goes on fetches them
                        shutil.rmtree(checkpoints / given.job.id, ignore_errors=True)
                except _FailedError as failed:  # on this rank, of which rank 0 sees no more than a broken connection
                    line.speaks = True
                    line.say(Update("failed", error=str(failed)))
                    raise


def _room() -> int:
    """How many more workers like this one there are places for."""
    import ray

    free, own = ray.available_resources(), ray.get_runtime_context().get_assigned_resources()
    return min((int(free.get(name, 0.0) // needed) for name, needed in own.items() if needed > 0), default=0)


def _check_sight(sight: Sight, broker: Any) -> None:
    """Take no trial where a rank does not see the sweep's files.

    Raises:
        _RestartNeededError: the group needs other nodes; the broker knows which.
    """
    import ray

    from training.distributed.ranks import from_all_ranks

    here = ray.get_runtime_context().get_node_id()
    fault = sight.fault(node_name(ray.util.get_node_ip_address(), socket.gethostname()))
    if fault is not None:
        ray.get(broker.see_blind.remote(here, fault))
    if any(from_all_ranks(fault)):
        raise _RestartNeededError


def _of_rank_zero(value: Anything) -> Anything:
    """Rank 0's value, on every rank."""
    from torch import distributed

    from training.distributed.ranks import world_size

    if world_size() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


class Line:
    """What the ranks of a slot have to say of one job; of all but the first nobody listens.

    Args:
        broker: handle of the broker actor.
        setup: the slot's.
        given: the job, and which attempt at it this is.
        speaks: whether what is said goes to the broker.
        group: which of the slot's groups of workers this is.
    """

    def __init__(self, broker: Any, setup: SlotSetup, given: Assignment, *, speaks: bool, group: str = "") -> None:
        self.speaks = speaks
        self._group = group
        self.workers = setup.workers
        """See :class:`SlotSetup`."""
        self.watched = setup.sight is not None
        """Whether nodes may announce their end: not the driver's own."""
        self.claim = Claim(setup.namespace, given.attempt)
        self._broker = broker
        self._who = setup.slot, given.job.id, given.attempt
        self._said = 0

    def say(self, update: Update, answers: list[dict[str, Any]] | None = None) -> bool:
        """Report; true where the job should stop."""
        import ray

        if not self.speaks:
            return False
        self._said += 1
        return bool(ray.get(self._broker.report.remote(*self._who, self._said, update, answers)))

    def note(self, sentence: str) -> None:
        """Let people know."""
        import ray

        if self.speaks:
            ray.get(self._broker.note.remote([sentence]))

    def leaves(self) -> bool:
        """Whether a node of this slot will be taken away, which the broker is then told; asked after every step."""
        import ray

        told = notice()
        if told is not None:
            ray.get(self._broker.slot_leaves.remote(self._who[0], self._group, told.sentence()))
        return told is not None

    def does(self, what: str) -> None:
        """Say what takes its time; nobody waits for it."""
        if self.speaks and not what.startswith("WARNING"):  # which becomes a note
            self._broker.does.remote(self._who[1], what)


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


def _serve(given: Assignment, benches: _Benches, checkpoints: Path, line: Line) -> None:
    """Run one job, from its last checkpoint where it has one, and report how it ended.

    What one trial does wrong never ends a slot of one rank.

    Raises:
        _FailedError: it failed on this rank, which is not the one that talks to the broker.
        _RestartNeededError: another rank is gone, every rank stands without room on the disk, or a node will be taken
            away.
    """
    from training.distributed.ranks import FailedAlone, is_of_another_rank, rank, world_size
    from training.errors import TrainingError
    from training.evaluation.answers import without_text
    from training.loop.train import StepReport, TrialMoved, TrialStopped
    from training.models.batching import is_out_of_memory

    job, trial = given.job, given.job.trial
    full = line.workers
    if trial is not None and full is not None:
        if trial.micro_batch_size is None:  # as many samples at once in a smaller group as in a whole one
            trial = trial.model_copy(update={"micro_batch_size": trial.batch_size // full})
        if world_size() < full:
            line.note(
                f"{job.id} is trained by {world_size()} of {full} workers: its global batch stays {trial.batch_size} "
                "samples, by accumulation"
            )
    reported = False
    began = _Begin(job, line)

    def on_step(report: StepReport) -> bool:
        nonlocal reported
        if not reported and trial is not None and report.step > began.step + trial.log_every:
            line.note(f"{job.id} went on from its last checkpoint: its first report is of step {report.step}")
        reported = True
        kind: Literal["step", "rung"] = "rung" if report.rung else "step"
        return line.say(Update(kind, report.step, report.scores))

    bench = None
    try:
        bench = benches.for_model(job.model)
        bench.notify = line.does
        bench.any_size = full is not None
        bench.leaves = line.leaves if line.watched else None
        run = partial(
            bench.run,
            trial,
            on_step,
            checkpoint=checkpoints / job.id,
            rungs=job.rungs,
            claim=line.claim,
            scaling=_scaling(job.scaling),
            forking=began.forking(checkpoints.with_name(FORKS)),
        )
        found = _with_room(run, checkpoints.parent, line.note)
        for warning in bench.warnings:
            line.note(warning)
        beside = {"evaluation/seconds": found.seconds} | ({} if full is None else {WORKERS: float(world_size())})
        measured = Update(
            "measured",
            trial.total_steps if trial is not None else 0,
            report=found.report.joined(Scores(beside)),
            select=found.select,
            scaled=tuple(_scores(one) for one in found.scaled),
        )
        answers = [*found.answers, *_scaled_answers(found)]
        keeps_text = bench.evaluation.keeps_text(embedded=job.model.embedded)
        line.say(measured, answers if keeps_text else without_text(answers))
    except TrialStopped as stopped:
        line.say(Update("stopped", step=stopped.step))
    except TrialMoved as moved:
        raise _RestartNeededError(f"saved after step {moved.step}: its node will be taken away") from None
    except _RestartNeededError:
        raise
    except TrainingError as error:  # raised alike on every rank
        line.say(Update("failed", error=str(error), unprepared=bench is None or bench.fault is not None))
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
        if not line.speaks:
            raise _FailedError(text) from error
        line.say(Update("failed", error=text))
        if world_size() > 1:
            raise  # the other ranks may be waiting in a collective: only a restarted group is sound again


class _Begin:
    """Where a job begins, and what is said of it then.

    Args:
        job: which.
        line: to the broker.
    """

    def __init__(self, job: Job, line: Line) -> None:
        self.step = 0
        """Optimizer steps that another job did for it."""
        self._job = job
        self._line = line

    def forking(self, folder: Path) -> "Forking":
        """What the job shares with others, whose fork points are below ``folder``."""
        from training.loop.forks import Fork, Forking

        job, start = self._job, None
        if job.fork is not None:
            start = Fork(folder / job.fork.trial, job.fork.step, self._begins)
        return Forking(frozenset(job.keeps), folder / job.id if job.keeps else None, start)

    def _begins(self, fault: str | None) -> None:
        job, fork = self._job, self._job.fork
        assert fork is not None
        if fault is not None:
            self._line.note(
                f"{job.id} begins at its first step: the checkpoint of {fork.trial} after step {fork.step} cannot be "
                f"used ({fault})"
            )
            return
        self.step = fork.step
        self._line.say(Update("forked", fork.step))
        for update in fork.updates:  # one that is pruned by them ends with its next report
            self._line.say(update)


def _scaling(asked: ScalingJob | None) -> "Scaling | None":
    from training.workbench.scaled import Scaling

    return Scaling(asked.scales, partial(worthwhile, asked)) if asked is not None else None


def _scores(one: "ScaledMeasurement") -> ScaledScores:
    if one.found is None:
        return ScaledScores(one.scale, one.rung)
    seconds = Scores({"evaluation/seconds": one.found.seconds})
    return ScaledScores(one.scale, one.rung, one.found.report.joined(seconds), one.found.select)


def _scaled_answers(found: "Measurement") -> Iterator[dict[str, Any]]:
    for one in found.scaled:
        for row in one.found.answers if one.found is not None else ():
            yield {**row, SCALE: one.scale}


class _FailedError(Exception):
    """The job came to an error nobody foresaw on another rank than the first; the text is its traceback."""


class _RestartNeededError(Exception):
    """Ray Train has to restart the group of workers; its job then goes on from its checkpoint."""


def _with_room(run: Callable[[], "Measurement"], folder: Path, note: Callable[[str], None]) -> "Measurement":
    """What ``run`` measures; where it failed on a full disk, it goes on from its checkpoint once there is room."""
    from training.distributed.progress import advance
    from training.distributed.ranks import world_size
    from training.errors import TrainingError
    from training.loop.train import TrialMoved, TrialStopped

    while True:
        try:
            return run()
        except (TrainingError, TrialMoved, TrialStopped):
            raise
        except Exception as error:
            if not is_full(folder):
                raise
            note(f"the disk of {folder} is full: the trials wait until there is room again")
            wait_for_room(folder, advance)
            if world_size() > 1:  # the other ranks may be waiting in a collective
                raise _RestartNeededError from error
