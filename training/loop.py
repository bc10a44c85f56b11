"""The training loop: optimizer steps over a DeepSpeed engine, with reports on the way."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from training import engine as engines
from training.config import TrialConfig
from training.constraints import Constraint
from training.data.plan import BatchPlan
from training.data.samples import Batch, Integers, Samples
from training.engine import BatchSizes
from training.errors import DivergedError
from training.objective import Objective
from training.references import References
from training.schedule import alpha_at, learning_rate_at

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepReport:
    """What happened since the last report."""

    step: int
    """Optimizer steps done."""
    metrics: dict[str, float]
    """Means over the steps since the last report, over all ranks, by metric name."""


class TrialStopped(Exception):
    """A report asked for the training to end; raised on every rank alike."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped after step {step}")
        self.step = step
        """Optimizer steps done."""


Report = Callable[[StepReport], bool]
"""Called on every rank; what rank 0's returns decides for all: true ends it with :class:`TrialStopped`."""


@dataclass(frozen=True)
class TrainingSet:
    """The samples of a trial and what they are compared with."""

    samples: Samples
    """Task samples, followed by safety samples."""
    task: int
    """How many of them are task samples."""
    references: References | None
    """Projections of the initial model; none where no constraint needs them."""


@dataclass(frozen=True)
class _Work:
    """One forward pass, ready for the device."""

    batch: Batch
    references: Tensor | None


class _Steps:
    """The batches of this rank and the global counts that both terms of the loss are divided by."""

    def __init__(self, trial: TrialConfig, data: TrainingSet, constraint: Constraint | None, sizes: BatchSizes) -> None:
        self.data = data
        self.sizes = sizes
        self.layers = list(constraint.layers) if constraint is not None and constraint.needs_references else None
        self.plan = BatchPlan.make(
            task=data.task,
            safety=len(data.samples) - data.task,
            share=trial.safety_share,
            lengths=data.samples.lengths,
            steps=trial.steps,
            batch_size=trial.batch_size,
            seed=trial.seed,
        )
        # Every rank knows the whole plan, so the global counts need no communication.
        self.response_tokens: Integers = data.samples.response_lengths[self.plan.steps].sum(axis=1)
        self.tokens: Integers = data.samples.lengths[self.plan.steps].sum(axis=1)
        over_samples = constraint is not None and constraint.averages_over == "samples"
        self.penalised = np.full_like(self.response_tokens, trial.batch_size) if over_samples else self.response_tokens

    def work(self, step: int, constrained: bool, device: torch.device) -> Iterator[_Work]:
        sizes = self.sizes
        for chosen in self.plan.micro_batches(step, engines.rank(), sizes.world_size, sizes.micro_batch_size):
            references = None
            if constrained and self.layers is not None:
                assert self.data.references is not None, "the constraint compares with references that were not built"
                references = self.data.references.of(chosen, self.layers).to(device, non_blocking=True)
            yield _Work(self.data.samples.collate(chosen).to(device), references)


class _Record:
    """Both terms of the loss at every step since the last report, kept on the device: no step waits for them."""

    def __init__(self, every: int, device: torch.device) -> None:
        self.terms = torch.zeros(every, 2, dtype=torch.float64, device=device)
        self.first = 0
        self.alphas: list[float] = []
        self.tokens = 0
        self.since = time.perf_counter()

    def add(self, cross_entropy: Tensor, penalty: Tensor) -> None:
        """Add one forward pass of the running step: this rank's shares of the two global means."""
        row = self.terms[len(self.alphas) - 1]
        row += torch.stack([cross_entropy.detach(), penalty.detach()])

    def start_step(self, alpha: float, tokens: int) -> None:
        self.alphas.append(alpha)
        self.tokens += tokens

    def close(self, steps: _Steps, learning_rate: float) -> StepReport:
        """The report over all ranks; it begins a new one.

        Raises:
            DivergedError: the loss of a step was not finite; on every rank alike, since all see the summed terms.
        """
        count = len(self.alphas)
        terms = engines.sum_over_ranks(self.terms[:count].clone()).cpu()
        finite = torch.isfinite(terms).all(dim=1)
        if not bool(finite.all()):
            step = self.first + int((~finite).nonzero()[0])
            raise _diverged(step, terms[step - self.first], steps)
        seconds = time.perf_counter() - self.since
        cross_entropy, penalty = terms.mean(dim=0).tolist()
        weighted = float((terms[:, 1] * torch.tensor(self.alphas, dtype=torch.float64)).mean())
        metrics = {
            "train/loss": cross_entropy,
            "train/penalty": penalty,
            "train/penalty_ratio": weighted / max(cross_entropy, 1e-12),
            "train/tokens_per_second": self.tokens / seconds,
            "train/learning_rate": learning_rate,
            "train/alpha": self.alphas[-1],
        }
        self.first += count
        self.terms.zero_()
        self.alphas, self.tokens, self.since = [], 0, time.perf_counter()
        return StepReport(self.first, metrics)


def _diverged(step: int, terms: Tensor, steps: _Steps) -> DivergedError:
    names = [
        f"task {i}" if i < steps.data.task else f"safety {i - steps.data.task}" for i in steps.plan.steps[step].tolist()
    ]
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return DivergedError(
        f"the loss is not finite at step {step + 1} (cross-entropy {terms[0]:g}, penalty {terms[1]:g}), on samples "
        f"{shown}: lower learning_rate or constraint.alpha, or look at these samples"
    )


def _never(_report: StepReport) -> bool:
    return False


def train(
    model: nn.Module,
    trial: TrialConfig,
    data: TrainingSet,
    constraint: Constraint | None,
    report: Report = _never,
    finish: Callable[[nn.Module], None] | None = None,
) -> None:
    """Fine-tune ``model`` in place, on all ranks together.

    Args:
        model: on this rank's device, with ``requires_grad`` set on what is trained.
        trial: how.
        data: samples and references, the same on every rank.
        constraint: from :func:`training.constraints.build_constraint`; none, or alpha 0, trains without.
        report: called every ``log_every`` steps and after the last; see :data:`Report`.
        finish: called with the trained model while the engine still holds it, for what needs ZeRO's gathering.

    Raises:
        TrialStopped: a report asked for it.
        TrainingError: the global batch cannot be shared among the ranks.
        DivergedError: the loss was not finite.
    """
    sizes = BatchSizes.derive(trial, engines.world_size())
    if engines.rank() == 0:
        log.info("%s", sizes)
    device = next(model.parameters()).device
    steps = _Steps(trial, data, constraint, sizes)
    torch.manual_seed(trial.seed + engines.rank())  # dropout
    model.train()
    objective = Objective(model, constraint)
    engine = engines.initialise(objective, trial, sizes)
    record = _Record(trial.log_every, device)
    try:
        for step in range(trial.steps):
            rate = learning_rate_at(step, trial)
            for group in engine.optimizer.param_groups:
                group["lr"] = rate
            _optimizer_step(engine, trial, steps, step, record, device)
            last = step + 1 == trial.steps
            if ((step + 1) % trial.log_every == 0 or last) and engines.decision_of_rank_zero(
                report(record.close(steps, rate)), device
            ):
                raise TrialStopped(step + 1)
        if finish is not None:
            finish(model)
    finally:
        engine.destroy()
        model.eval()


def _optimizer_step(
    engine: "DeepSpeedEngine",
    trial: TrialConfig,
    steps: _Steps,
    step: int,
    record: _Record,
    device: torch.device,
) -> None:
    held = trial.constraint
    alpha = alpha_at(step, alpha=held.alpha, warmup_steps=held.warmup_steps, alpha_after=held.alpha_after)
    constrained = alpha > 0
    record.start_step(alpha, int(steps.tokens[step]))
    # DeepSpeed averages gradients over ranks and forward passes; the terms are already shares of global means.
    undo_average = steps.sizes.world_size * steps.sizes.accumulation
    for work in steps.work(step, constrained, device):
        cross_entropy_sum, penalty_sum = engine(work.batch, work.references, constrained)
        cross_entropy = cross_entropy_sum / int(steps.response_tokens[step])
        penalty = penalty_sum / int(steps.penalised[step])
        loss = cross_entropy + alpha * penalty if constrained else cross_entropy
        engine.backward(loss * undo_average)
        engine.step()
        record.add(cross_entropy, penalty)
