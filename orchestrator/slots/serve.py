"""One job of a slot: run from where it stands, measured, and reported however it ends."""

import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.record.folder import FORKS
from orchestrator.slots.begin import Begin
from orchestrator.slots.errors import FailedError, RestartNeededError
from orchestrator.slots.line import Line
from orchestrator.slots.messages import SCALE, Assignment, ScaledScores, ScalingJob, Update
from orchestrator.slots.scaling import worthwhile
from orchestrator.slots.setup import SlotSetup
from orchestrator.slots.shortage import with_room, within_memory
from training.config import ModelConfig
from training.evaluation.scores import Scores

if TYPE_CHECKING:
    from training.evaluation.measure import ScaledMeasurement
    from training.workbench import Measurement, Workbench
    from training.workbench.scaled import Scaling

WORKERS = "train/workers"
"""Beside what a trial measured: how many workers it had in the end, where that may change."""
FITS = "set trial.gradient_checkpointing, lower trial.max_length, or ask procon plan what would fit"
"""What may help where memory does not suffice for a single sample, or beside training."""
MICRO_BATCH = "train/micro_batch_size"
"""Likewise: samples per forward pass and worker at most, where memory ran out with more."""


class Benches:
    """The one workbench that is loaded, exchanged when a job needs another model."""

    def __init__(self, setup: SlotSetup) -> None:
        self._setup = setup
        self._loaded: tuple[ModelConfig, Workbench] | None = None

    def for_model(self, model: ModelConfig) -> "Workbench":
        """The workbench of that model, which is loaded unless it is there."""
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


def serve(given: Assignment, benches: Benches, checkpoints: Path, line: Line) -> None:
    """Run one job, from its last checkpoint where it has one, and report how it ended.

    What one trial does wrong never ends a slot of one rank.

    Raises:
        FailedError: it failed on this rank, which is not the one that talks to the broker.
        RestartNeededError: another rank is gone, every rank stands without room on the disk, or a node will be taken
            away.
    """
    from training.distributed.ranks import FailedAlone, is_of_another_rank, rank, world_size
    from training.errors import TrainingError
    from training.evaluation.answers import without_text
    from training.loop.train import MemoryRanOut, StepReport, TrialMoved, TrialStopped
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
    began = Begin(job, line)

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

        def in_room(at_most: int | None) -> "Measurement":
            return with_room(partial(run, at_most=at_most), checkpoints.parent, line.note)

        found, at_most = within_memory(in_room, given.at_most, line)
        for warning in bench.warnings:
            line.note(warning)
        beside = {"evaluation/seconds": found.seconds}
        if full is not None:
            beside[WORKERS] = float(world_size())
        if at_most is not None:
            beside[MICRO_BATCH] = float(at_most)
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
        raise RestartNeededError(f"saved after step {moved.step}: its node will be taken away") from None
    except RestartNeededError:
        raise
    except TrainingError as error:  # raised alike on every rank
        line.say(Update("failed", error=str(error), unprepared=bench is None or bench.fault is not None))
    except Exception as error:
        if world_size() > 1 and is_of_another_rank(error):
            raise RestartNeededError from error
        if isinstance(error, FailedAlone):
            text = str(error)
        elif isinstance(error, MemoryRanOut):
            text = f"{error}: {FITS}"
        elif isinstance(error, RuntimeError) and is_out_of_memory(error):
            text = f"memory ran out on rank {rank()} ({str(error).strip().splitlines()[0]}): {FITS}"
        else:
            text = traceback.format_exc(limit=-6)
        if not line.speaks:
            raise FailedError(text) from error
        line.say(Update("failed", error=text))
        if world_size() > 1:
            raise  # the other ranks may be waiting in a collective: only a restarted group is sound again


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
