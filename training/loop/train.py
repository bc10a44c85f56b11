"""The training loop: optimizer steps over a DeepSpeed engine, with reports on the way."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from training.config import TrialConfig
from training.config.schedule import constraint_strength, learning_rate_at, restarts_at
from training.config.sharing import stages
from training.constraints import Constraint, GradientConstraint
from training.constraints.base import Recalled
from training.constraints.null_space import NullSpace
from training.constraints.references.projections import ReferenceValues
from training.data.batch_plan import BatchPlan
from training.data.samples import Batch, Integers, Samples
from training.distributed import engine as engines
from training.distributed import ranks
from training.distributed.deepspeed_config import BatchSizes
from training.distributed.gathering import close
from training.distributed.parameter_groups import set_rate
from training.errors import DivergedError
from training.loop.averaging import WeightAverage
from training.loop.checkpoint import Checkpoints
from training.loop.checkpointing import Checkpointing
from training.loop.loss import ConstrainedLoss
from training.loop.record import Record, StepReport
from training.loop.surgery import Surgery
from training.models.batching import is_out_of_memory
from training.models.loading import gradient_checkpointing

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

log = logging.getLogger(__name__)


class TrialStopped(Exception):
    """A report asked for the training to end; raised on every rank alike."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped after step {step}")
        self.step = step
        """Optimizer steps done."""


class TrialMoved(Exception):
    """The training was saved, to be gone on with on another machine; raised on every rank alike."""

    def __init__(self, step: int) -> None:
        super().__init__(f"saved after step {step}, to go on elsewhere")
        self.step = step
        """Optimizer steps done."""


class MemoryRanOut(Exception):
    """Memory did not suffice for an optimizer step, on this rank; others may be waiting for it in a collective."""

    def __init__(self, step: int, sizes: BatchSizes, error: str, *, sharded: bool) -> None:
        super().__init__(
            f"memory ran out on rank {ranks.rank()} in step {step + 1}, with a micro-batch of {sizes.micro_batch_size} "
            f"({error})"
        )
        self.smaller = sizes.smaller
        """Samples at once with which it may go on; None where it was a single one."""
        self.sharded = sharded
        """Whether the model was left with some of its parts gathered, so that it can only be loaded anew."""


Report = Callable[[StepReport], bool]
"""Called on every rank; what rank 0's returns decides for all: true ends it with :class:`TrialStopped`."""


@dataclass(frozen=True)
class Rungs:
    """Where on its way a trial is measured without generation."""

    steps: frozenset[int]
    """Optimizer steps after which it is."""
    measure: Callable[[nn.Module, int], StepReport]
    """Measures the model after the given step; called on every rank."""


@dataclass(frozen=True)
class TrainingSet:
    """The samples of a trial and what they are compared with."""

    samples: Samples
    """Task samples, followed by safety samples."""
    task: int
    """How many of them are task samples."""
    references: ReferenceValues | None
    """What the constraint compares with; None where it needs nothing."""


@dataclass(frozen=True)
class _Work:
    """One forward pass, ready for the device."""

    batch: Batch
    references: Recalled | None


def plan_of(trial: TrialConfig, data: TrainingSet) -> BatchPlan:
    """The samples of every optimizer step of a trial.

    A stage that begins anew after a warm-up sees the batches that a training of its length would without one.
    """
    plans = [
        BatchPlan.make(
            task=data.task,
            safety=len(data.samples) - data.task,
            share=trial.safety_share,
            count=trial.safety_count,
            lengths=data.samples.lengths,
            steps=steps,
            batch_size=trial.batch_size,
            seed=trial.seed,
        )
        for steps in stages(trial)
    ]
    return BatchPlan(np.concatenate([plan.steps for plan in plans]))


class Steps:
    """The batches of this rank and the global counts that both terms of the loss are divided by."""

    def __init__(self, trial: TrialConfig, data: TrainingSet, constraint: Constraint | None, sizes: BatchSizes) -> None:
        self.data = data
        self.sizes = sizes
        self.row_length = trial.row_length
        self.layers = list(constraint.layers) if constraint is not None and constraint.needs_references else None
        self.plan = plan_of(trial, data)
        # Every rank knows the whole plan, so the global counts need no communication.
        self.response_tokens: Integers = data.samples.response_lengths[self.plan.steps].sum(axis=1)
        self.tokens: Integers = data.samples.lengths[self.plan.steps].sum(axis=1)
        counted = constraint.counted(data.samples) if constraint is not None else data.samples.response_lengths
        self.penalised: Integers = counted[self.plan.steps].sum(axis=1)

    @property
    def undo_average(self) -> int:
        """DeepSpeed averages gradients over ranks and forward passes; the terms are already shares of global means."""
        return self.sizes.world_size * self.sizes.passes

    def work(self, step: int, constrained: bool, device: torch.device) -> Iterator[_Work]:
        """This rank's forward passes of optimizer step ``step``."""
        sizes = self.sizes
        for chosen in self.plan.micro_batches(step, ranks.rank(), sizes.world_size, sizes.micro_batch_size):
            references = None
            if constrained and self.layers is not None:
                assert self.data.references is not None, "the constraint compares with references that were not built"
                references = self.data.references.of(chosen, self.layers).to(device, non_blocking=True)
            yield _Work(self.data.samples.collate(chosen, self.row_length).to(device), references)


def _diverged(step: int, terms: Tensor, steps: Steps, last: Path | None) -> DivergedError:
    names = [
        f"task {i}" if i < steps.data.task else f"safety {i - steps.data.task}" for i in steps.plan.steps[step].tolist()
    ]
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return DivergedError(
        f"the loss is not finite at step {step + 1} (cross-entropy {terms[0]:g}, penalty {terms[1]:g}, gradient norm "
        f"{terms[2]:g}), on samples {shown}; the last checkpoint is {last or 'none'}: lower learning_rate or "
        "constraint.alpha, or look at these samples"
    )


def _never(_report: StepReport) -> bool:
    return False


def train(
    model: nn.Module,
    trial: TrialConfig,
    data: TrainingSet,
    constraint: Constraint | None,
    report: Report = _never,
    finish: Callable[["DeepSpeedEngine"], None] | None = None,
    checkpointing: Checkpointing | None = None,
    rungs: Rungs | None = None,
    until: int | None = None,
    at_most: int | None = None,
) -> None:
    """Fine-tune ``model`` in place, on all ranks together.

    Args:
        model: on this rank's device, with ``requires_grad`` set on what is trained.
        trial: how.
        data: samples and references, the same on every rank.
        constraint: from :func:`training.constraints.build_constraint`; none, or alpha 0, trains without.
        report: called every ``log_every`` steps and after the last; see :data:`Report`.
        finish: called in the end with the engine, a :class:`ConstrainedLoss` round the trained model in it, for what
            needs ZeRO's gathering or gradients as training has them.
        checkpointing: where checkpoints go and whether to go on from the newest; None makes none.
        rungs: where the trial is measured on its way; each measurement goes to ``report``.
        until: optimizer steps to do of it; None does all.
        at_most: samples per forward pass and rank that memory suffices for, whatever the trial asks for; the global
            batch stays, by accumulation.

    Raises:
        CheckpointError: the checkpoint found does not fit.
        MemoryRanOut: on this rank, in an optimizer step.
        TrialStopped: a report asked for it.
        TrialMoved: the machine will be taken away; see :class:`~training.loop.checkpointing.Checkpointing`.
        TrainingError: the global batch cannot be shared among the ranks.
        DivergedError: the loss was not finite.
    """
    assert trial.task_samples is not None or not trial.counts_epochs, "epochs are passes over samples not yet counted"
    sizes = BatchSizes.derive(trial, ranks.world_size(), at_most)
    if ranks.rank() == 0:
        log.info("%s", sizes)
    device = next(model.parameters()).device
    steps = Steps(trial, data, constraint, sizes)
    last = trial.total_steps if until is None else until
    torch.manual_seed(trial.seed + ranks.rank())  # dropout
    with ExitStack() as cleanup:
        if isinstance(constraint, NullSpace):
            cleanup.enter_context(constraint.around(model))
        model.train()
        cleanup.callback(model.eval)
        engine = engines.initialise(ConstrainedLoss(model, constraint), trial, sizes)
        cleanup.callback(engines.free_optimizer, engine)  # after the next: what is measured then needs the memory
        cleanup.callback(close, engine)
        surgery = None
        if isinstance(constraint, GradientConstraint):
            surgery = Surgery(engine, trial, constraint, data.samples, data.task, data.references)
            cleanup.enter_context(surgery.watching())
        average = WeightAverage(model, trial.ema_decay) if trial.ema_decay is not None else None
        cleanup.enter_context(gradient_checkpointing(model, trial.gradient_checkpointing))
        checkpoints = None
        if checkpointing is not None:
            checkpoints = Checkpoints(checkpointing, trial, data.samples.fingerprint, device)
        record = Record(
            trial.log_every,
            device,
            lambda step, terms: _diverged(step, terms, steps, checkpoints.latest if checkpoints else None),
        )
        beside = [
            one for one in (average, constraint if isinstance(constraint, NullSpace) else None) if one is not None
        ]
        first, recorded = checkpoints.restore(engine, beside) if checkpoints else (0, None)
        if recorded is not None:
            log.info("going on after step %d", first)
            record.restore(recorded)
        for step in range(first, last):
            if step == restarts_at(trial):
                engines.restart_optimizer(engine)
            rate = learning_rate_at(step, trial)
            set_rate(engine.optimizer, rate)
            optimizer_step = partial(_optimizer_step, engine, trial, steps, step, record, device, surgery)
            _within_memory(optimizer_step, step, sizes, sharded=trial.zero_stage == 3)
            if average is not None:
                average.update()
            done = step + 1
            if (done % trial.log_every == 0 or done == last) and ranks.decision_of_rank_zero(
                report(record.close(rate)), device
            ):
                raise TrialStopped(done)
            # Before the checkpoint: a worker that dies between the two measures again, but never not at all.
            if rungs is not None and done in rungs.steps:
                with record.paused(), average.in_place() if average is not None else nullcontext():
                    stop = ranks.decision_of_rank_zero(report(rungs.measure(model, done)), device)
                if stop:
                    raise TrialStopped(done)
            if checkpoints is not None:
                moves = done < last and checkpoints.leaves()  # after the last one it is measured, notice or not
                if moves or checkpoints.due(done, trial.total_steps):
                    record.check()  # weights that are not finite must not replace a checkpoint that is
                    checkpoints.save(engine, done, record.state(), beside)
                if moves:
                    raise TrialMoved(done)
        if average is not None and until is None:
            average.put()
        if finish is not None:
            finish(engine)


def _within_memory(optimizer_step: Callable[[], None], step: int, sizes: BatchSizes, *, sharded: bool) -> None:
    try:
        return optimizer_step()
    except RuntimeError as error:  # torch.OutOfMemoryError is one
        if not is_out_of_memory(error):
            raise
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    # Outside the handler: the error's traceback holds the step's tensors.
    raise MemoryRanOut(step, sizes, text, sharded=sharded)


def _optimizer_step(
    engine: "DeepSpeedEngine",
    trial: TrialConfig,
    steps: Steps,
    step: int,
    record: Record,
    device: torch.device,
    surgery: Surgery | None,
) -> None:
    alpha = constraint_strength(step, trial)
    constrained = alpha > 0 and surgery is None
    record.start_step(alpha, int(steps.tokens[step]))
    alignment = None if surgery is None else surgery.begin(step, alpha)
    for work in steps.work(step, constrained, device):
        cross_entropy_sum, penalty_sum = engine(work.batch, work.references, constrained)
        cross_entropy = cross_entropy_sum / int(steps.response_tokens[step])
        penalty = penalty_sum / int(steps.penalised[step])
        loss = cross_entropy + alpha * penalty if constrained else cross_entropy
        engine.backward(loss * steps.undo_average)
        record.add(cross_entropy, penalty)
        norm = engines.step(engine, trial)
        if norm is not None:
            record.end_step(norm)
    if surgery is not None and alignment is not None:
        surgery.end(alpha)
        record.add(torch.zeros_like(alignment), alignment)
        norm = engines.step(engine, trial)
        assert norm is not None
        record.end_step(norm)


__all__ = [
    "MemoryRanOut",
    "Report",
    "Rungs",
    "StepReport",
    "Steps",
    "TrainingSet",
    "TrialMoved",
    "TrialStopped",
    "train",
]
