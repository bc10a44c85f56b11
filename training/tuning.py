"""One trial's trainable model: made from the warm base model, trained, handed out, and gone without a trace."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from training import engine as engines
from training.adapters import attach, detach
from training.config import LoraTuning, TrialConfig
from training.constraints import Constraint
from training.loop import Report, TrainingSet, train


@contextmanager
def trainable(model: PreTrainedModel, trial: TrialConfig) -> Iterator[nn.Module]:
    """What the trial trains: ``model`` with fresh adapters, or a copy of it; ``model`` is afterwards what it was."""
    if isinstance(trial.tuning, LoraTuning):
        adapted = attach(model, trial.tuning, trial.seed)
        try:
            yield adapted
        finally:
            detach(adapted)
    else:
        yield copy.deepcopy(model).requires_grad_(True)


@contextmanager
def tuned(
    model: PreTrainedModel, trial: TrialConfig, data: TrainingSet, constraint: Constraint | None, report: Report
) -> Iterator[nn.Module]:
    """The fine-tuned model, whole on every rank, for as long as the block lasts.

    Raises:
        TrainingError: see :func:`training.loop.train`.
    """
    if trial.deepspeed.zero_stage < 3:
        with trainable(model, trial) as trained:
            train(trained, trial, data, constraint, report)
            yield trained
        return
    weights = _trained_in_shards(model, trial, data, constraint, report)
    with trainable(model, trial) as whole:
        with torch.no_grad():
            for name, parameter in whole.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(weights[name])
        yield whole


def _trained_in_shards(
    model: PreTrainedModel, trial: TrialConfig, data: TrainingSet, constraint: Constraint | None, report: Report
) -> dict[str, Tensor]:
    """The trained parameters by name, from a copy: ZeRO 3 takes the module it is given apart for good."""
    weights: dict[str, Tensor] = {}
    scratch = copy.deepcopy(model)
    module = attach(scratch, trial.tuning, trial.seed) if isinstance(trial.tuning, LoraTuning) else scratch
    train(
        module,
        trial,
        data,
        constraint,
        report,
        finish=lambda trained: weights.update(engines.gathered_trainable(trained)),
    )
    return weights
