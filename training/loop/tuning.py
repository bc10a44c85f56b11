"""One trial's trainable model: made from the warm base model, trained, handed out, and gone without a trace."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from training.config import AdapterTuning, FreezeLayersConstraint, TrialConfig
from training.constraints import Constraint
from training.constraints.freeze_layers import freeze
from training.distributed import engine as engines
from training.errors import ModelError
from training.loop.checkpoint import Checkpointing
from training.loop.train import Report, Rungs, TrainingSet, train
from training.models.adapters import attach, detach


@contextmanager
def trainable(model: PreTrainedModel, trial: TrialConfig) -> Iterator[nn.Module]:
    """What the trial trains: ``model`` with fresh adapters, or a copy of it; ``model`` is afterwards what it was."""
    if isinstance(trial.tuning, AdapterTuning):
        adapted = attach(model, trial.tuning, trial.seed)
        try:
            yield _with_frozen_layers(adapted, trial)
        finally:
            detach(adapted)
    else:
        yield _with_frozen_layers(copy.deepcopy(model).requires_grad_(True), trial)


@contextmanager
def thrown_away(model: PreTrainedModel, trial: TrialConfig) -> Iterator[nn.Module]:
    """What the trial would train, for a training of which nothing is kept; ``model`` is afterwards what it was."""
    if trial.zero_stage < 3:
        with trainable(model, trial) as trained:
            yield trained
    else:
        yield _whole_copy(model, trial)


def _whole_copy(model: PreTrainedModel, trial: TrialConfig) -> nn.Module:
    """For ZeRO 3, which takes the module it is given apart for good."""
    scratch = copy.deepcopy(model)
    module = attach(scratch, trial.tuning, trial.seed) if isinstance(trial.tuning, AdapterTuning) else scratch
    return _with_frozen_layers(module, trial)


def _with_frozen_layers(module: nn.Module, trial: TrialConfig) -> nn.Module:
    if isinstance(trial.constraint, FreezeLayersConstraint):
        freeze(module, trial.constraint)
    return module


def _check_precision(model: PreTrainedModel, trial: TrialConfig) -> None:
    """Refuse what DeepSpeed would round for good: under bf16 it casts every weight it is given, in place."""
    if trial.precision != "bf16":
        return
    for name, weight in model.named_parameters():
        if weight.dtype == torch.float32:
            raise ModelError(
                f"{type(model).__name__} keeps {name} in float32, which a training in bf16 would round, in the base "
                "model too: set trial.precision to fp32"
            )


@contextmanager
def tuned(
    model: PreTrainedModel,
    trial: TrialConfig,
    data: TrainingSet,
    constraint: Constraint | None,
    report: Report,
    checkpointing: Checkpointing | None = None,
    rungs: Rungs | None = None,
) -> Iterator[nn.Module]:
    """The fine-tuned model, whole on every rank, for as long as the block lasts.

    Under ZeRO 3 every rank starts from a whole copy of the base model, which DeepSpeed then takes apart: the model
    must fit each device once, and only gradients, optimizer states and activations gain from the sharding.

    Raises:
        TrainingError: see :func:`training.loop.train.train`.
        ModelError: bf16 of a model that keeps some weights in float32.
    """
    _check_precision(model, trial)
    if trial.zero_stage < 3:
        with trainable(model, trial) as trained:
            train(trained, trial, data, constraint, report, checkpointing=checkpointing, rungs=rungs)
            yield trained
        return
    weights = _trained_in_shards(model, trial, data, constraint, report, checkpointing, rungs)
    with trainable(model, trial) as whole:
        with torch.no_grad():
            for name, parameter in whole.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(weights[name])
        yield whole


def _trained_in_shards(
    model: PreTrainedModel,
    trial: TrialConfig,
    data: TrainingSet,
    constraint: Constraint | None,
    report: Report,
    checkpointing: Checkpointing | None,
    rungs: Rungs | None,
) -> dict[str, Tensor]:
    """The trained parameters by name, from a copy: ZeRO 3 takes the module it is given apart for good."""
    weights: dict[str, Tensor] = {}
    train(
        _whole_copy(model, trial),
        trial,
        data,
        constraint,
        report,
        finish=lambda engine: weights.update(engines.gathered_trainable(engine.module.model)),
        checkpointing=checkpointing,
        rungs=rungs,
    )
    return weights
