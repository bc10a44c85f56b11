"""How strong the random control must be to pull on the weights as hard as the constraint that it is the control of.

    ratio = median || grad L_r || / median || grad L_random ||

over 8 batches after 32 unconstrained steps: at the start both gradients vanish. The model measured on is thrown away.
"""

import hashlib
import json
import logging
import os
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from training.config import UNCONSTRAINED, RandomDirectionConstraint, TrialConfig
from training.constraints import Constraint
from training.constraints.references.projections import ReferenceValues
from training.data.samples import Samples
from training.distributed import engine as engines
from training.distributed import ranks
from training.distributed.deepspeed_config import BatchSizes
from training.errors import TrainingError
from training.loop.train import Steps, TrainingSet, train
from training.loop.tuning import trainable
from training.storage.shared import Shared

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

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
            "log_every": min(STEPS, trial.total_steps),
        }
    )


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """No dropout, while activations are still computed again: transformers does that in training mode alone."""
    model.eval()
    for module in model.modules():
        if getattr(module, "gradient_checkpointing", False):
            module.training = True
    try:
        yield
    finally:
        model.train()


def gradient_norms(
    engine: "DeepSpeedEngine", trial: TrialConfig, data: TrainingSet, compared: Compared, first: int
) -> list[float]:
    """Norm of the gradient of a penalty over all trained weights, for :data:`BATCHES` global batches.

    The gradients are the engine's own, shared among the ranks and added up as in the training, so that this needs the
    memory that the training needs: its optimizer steps have the learning rate 0, which moves no weight.

    Args:
        engine: of a training that is over, since its optimizer's moments are spoilt.
        trial: batch sizes, packing and seed.
        data: the samples.
        compared: the penalty.
        first: optimizer step that the first batch is of; after the last step the batches of the first follow.

    Returns:
        The same on every rank.
    """
    objective = engine.module
    model = objective.model
    device = next(model.parameters()).device
    sizes = BatchSizes.derive(trial, ranks.world_size())
    steps = Steps(trial, replace(data, references=compared.references), compared.constraint, sizes)
    for group in engine.optimizer.param_groups:
        group["lr"] = 0.0
    # Whatever dropout an architecture has of its own is the same for all that are compared.
    torch.manual_seed(trial.seed + ranks.rank())
    norms = []
    objective.constraint = compared.constraint
    with without_dropout(model):
        for step in (index % len(steps.plan.steps) for index in range(first, first + BATCHES)):
            norm: Tensor | float | None = None
            for work in steps.work(step, True, device):
                cross_entropy, penalty = engine(work.batch, work.references, True)
                # By the cross-entropy every trained weight has a gradient, which ZeRO relies on.
                loss = penalty / int(steps.penalised[step]) + 0.0 * cross_entropy
                engine.backward(loss * steps.undo_average)
                norm = engines.step(engine, trial)
            assert norm is not None
            norms.append(float(norm))
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
    first = min(STEPS, probe.total_steps)
    medians: list[float] = []

    def measure(engine: "DeepSpeedEngine") -> None:
        for compared in (real, random):
            medians.append(statistics.median(gradient_norms(engine, probe, data, compared, first)))

    with trainable(model, probe) as (scratch, _):
        train(scratch, probe, data, None, finish=measure, until=first)
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


def matched(trial: TrialConfig, kept: Path, measure: Callable[[], float], shared: Shared | None = None) -> TrialConfig:
    """The trial with the strength of its random control multiplied by the ratio; all ranks must call it.

    Args:
        trial: with a random control.
        kept: :func:`ratio_file`, read where it exists and written where not.
        measure: :func:`strength_ratio` of the trial.
        shared: what other machines share ``kept`` by, where they do not see it; the first ratio then counts for all.
    """
    held = trial.constraint
    assert isinstance(held, RandomDirectionConstraint)
    ratio = ranks.from_rank_zero(lambda: _kept(kept, shared))
    if ratio is None:
        measured = measure()
        ratio = ranks.from_rank_zero(lambda: _keep(kept, measured, shared))
    scaled = {"alpha": held.alpha * ratio, "alpha_after": held.alpha_after * ratio, "strength": "alpha"}
    return trial.model_copy(update={"constraint": held.model_copy(update=scaled)})


def _kept(path: Path, shared: Shared | None) -> float | None:
    """The ratio in ``path``; None where there is none."""
    if shared is not None:
        shared.fetch(path)
    return float(json.loads(path.read_text())["ratio"]) if path.exists() else None


def _keep(path: Path, ratio: float, shared: Shared | None) -> float:
    """The ratio that is in ``path`` then: ``ratio``, or another machine's that was first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps({"ratio": ratio}))
    partial.replace(path)
    if shared is not None and not shared.publish(path):
        return float(json.loads(path.read_text())["ratio"])
    return ratio
