"""How strong the random control must be to pull on the weights as hard as the constraint that it is the control of.

    ratio = median || grad L_r || / median || grad L_random ||

over 8 batches after 32 unconstrained steps: at the start both gradients vanish. The model measured on is thrown away.
"""

import hashlib
import json
import logging
import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from training import engine as engines
from training.config import UNCONSTRAINED, DeepSpeedConfig, RandomDirectionConstraint, TrialConfig
from training.constraints import Constraint, ForwardPass
from training.data.samples import Samples
from training.deepspeed_config import BatchSizes
from training.errors import TrainingError
from training.loop import StepReport, TrainingSet, TrialStopped, plan_of, train
from training.objective import response_logits
from training.references import ReferenceValues
from training.residual import capture
from training.tuning import trainable

STEPS = 32
"""Unconstrained steps before the gradients are measured; all of a shorter training."""
BATCHES = 8
"""Global batches that the medians are over."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compared:
    """A constraint and what it compares with."""

    constraint: Constraint
    references: ReferenceValues


def unconstrained(trial: TrialConfig) -> TrialConfig:
    """The same training without its constraint, of which only the first :data:`STEPS` will be run."""
    return trial.model_copy(
        update={
            "constraint": UNCONSTRAINED,
            "steps": trial.total_steps,
            "deepspeed": DeepSpeedConfig(zero_stage=0),  # gradients are asked for of whole weights
            "log_every": min(STEPS, trial.total_steps),
        }
    )


def gradient_norms(
    model: nn.Module, trial: TrialConfig, data: TrainingSet, compared: Compared, first: int
) -> list[float]:
    """Norm of the gradient of a penalty over all trained weights, for :data:`BATCHES` global batches.

    Args:
        model: whole on every rank; its weights and their ``grad`` are left alone.
        trial: batch sizes, packing and seed.
        data: the samples.
        compared: the penalty.
        first: optimizer step that the first batch is of; after the last step the batches of the first follow.

    Returns:
        The same on every rank.
    """
    device = next(model.parameters()).device
    sizes = BatchSizes.derive(trial, engines.world_size())
    plan = plan_of(trial, data)
    constraint = compared.constraint
    counted = constraint.counted(data.samples)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    norms = []
    for step in (index % len(plan.steps) for index in range(first, first + BATCHES)):
        total = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
        for chosen in plan.micro_batches(step, engines.rank(), sizes.world_size, sizes.micro_batch_size):
            batch = data.samples.collate(chosen, trial.row_length).to(device)
            recalled = compared.references.of(chosen, list(constraint.layers)).to(device)
            with capture(model, constraint.layers, constraint.site) as states:
                logits = response_logits(model, batch)
                seen = ForwardPass(batch, dict(states), recalled, logits, model)
            penalty = constraint.penalty_sum(seen) / int(counted[plan.steps[step]].sum())
            for sum_, part in zip(total, torch.autograd.grad(penalty, weights, allow_unused=True), strict=True):
                if part is not None:
                    sum_ += part.float()
        squares = torch.stack([engines.sum_over_ranks(sum_).square().sum() for sum_ in total])
        norms.append(float(squares.sum().sqrt()))
    return norms


def strength_ratio(
    model: PreTrainedModel, trial: TrialConfig, samples: Samples, task: int, real: Compared, random: Compared
) -> float:
    """What the strength of ``random`` is to be multiplied by to pull as hard as ``real``; the same on every rank.

    Args:
        model: the initial model; it is afterwards what it was.
        trial: the training that the control is for.
        samples: task samples, followed by safety samples.
        task: how many of them are task samples.
        real: the constraint with the refusal direction.
        random: the same with random directions.

    Raises:
        TrainingError: the control has no gradient.
    """
    probe, data = unconstrained(trial), TrainingSet(samples, task, None)
    medians: list[float] = []
    with trainable(model, probe) as scratch:

        def measure(report: StepReport) -> bool:
            scratch.eval()  # no dropout in what is compared
            for compared in (real, random):
                medians.append(statistics.median(gradient_norms(scratch, probe, data, compared, report.step)))
            return True

        try:
            train(scratch, probe, data, None, measure)
        except TrialStopped:
            log.debug("gradient norms: refusal direction %g, random %g", *medians)
    if not (medians[0] > 0 and medians[1] > 0):
        raise TrainingError(
            f"constraint.strength (matched) cannot be measured: the median gradient norms are {medians[0]:g} for the "
            f"refusal direction and {medians[1]:g} for the random ones; raise steps or learning_rate, or write alpha"
        )
    return medians[0] / medians[1]


def ratio_file(directory: Path, trial: TrialConfig, *fingerprints: str) -> Path:
    """Where the ratio of a trial is kept, so that a resumed trial goes on with the very same strength.

    Args:
        directory: of all ratios.
        trial: all of it counts but the strength itself, which the ratio does not depend on.
        fingerprints: of model, samples and direction.
    """
    settings = trial.model_dump(mode="json")
    for name in ("alpha", "alpha_after"):
        settings["constraint"].pop(name)
    text = json.dumps([settings, *fingerprints], sort_keys=True)
    return directory / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"


def matched(trial: TrialConfig, kept: Path, measure: Callable[[], float]) -> TrialConfig:
    """The trial with the strength of its random control multiplied by the ratio; all ranks must call it.

    Args:
        trial: with a random control.
        kept: :func:`ratio_file`, read where it exists and written where not.
        measure: :func:`strength_ratio` of the trial.
    """
    held = trial.constraint
    assert isinstance(held, RandomDirectionConstraint)
    ratio = engines.from_rank_zero(lambda: float(json.loads(kept.read_text())["ratio"]) if kept.exists() else None)
    if ratio is None:
        ratio = measure()
        engines.from_rank_zero(lambda: _keep(kept, ratio))
    scaled = {"alpha": held.alpha * ratio, "alpha_after": held.alpha_after * ratio, "strength": "alpha"}
    return trial.model_copy(update={"constraint": held.model_copy(update=scaled)})


def _keep(path: Path, ratio: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps({"ratio": ratio}))
    partial.replace(path)
