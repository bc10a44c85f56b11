"""One trial's trainable model: made from the warm base model, trained, handed out, and gone without a trace."""

import copy
import gc
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from training.config import AdapterTuning, FreezeLayersConstraint, TrialConfig
from training.constraints import Constraint
from training.constraints.freeze_layers import freeze
from training.distributed import ranks
from training.distributed.deepspeed_config import sharding_config
from training.distributed.gathering import gather_for_forward, gathering, stop_gathering
from training.distributed.sharding import own_part, sharded
from training.errors import ModelError, TrainingError
from training.loop.checkpointing import Checkpointing
from training.loop.scaling import Line, Tuned
from training.loop.train import Report, Rungs, TrainingSet, TrialMoved, TrialStopped, train
from training.models.adapters import attach, detach
from training.models.loading import DTYPES

log = logging.getLogger(__name__)


class Trainable(NamedTuple):
    """What a trial trains."""

    model: nn.Module
    initial: list[Tensor] | None
    """See :class:`training.loop.scaling.Line`."""


@contextmanager
def trainable(model: PreTrainedModel, trial: TrialConfig) -> Iterator[Trainable]:
    """What the trial trains; ``model`` is afterwards what it was.

    Adapters are attached to ``model`` itself. Under full tuning a copy of it is trained, or, where it is sharded,
    ``model`` itself, whose parts each rank keeps a copy of in host memory and puts back: a second model on the device
    would cost more, and reading it again from disk takes longer.

    Args:
        model: the base model, sharded exactly where the trial is run under ZeRO 3. Forward passes of what is yielded
            then need an engine, or :func:`training.distributed.gathering.gathering`.
        trial: which weights it trains.
    """
    assert sharded(model) == (trial.zero_stage == 3), "a trial under ZeRO 3 is of a sharded model, and no other is"
    initial: list[Tensor] | None = None
    with ExitStack() as restored:
        if sharded(model):
            restored.enter_context(_without_hooks(model, trial))
        if isinstance(trial.tuning, AdapterTuning):
            adapted = attach(model, trial.tuning, trial.seed)
            restored.callback(detach, adapted)
            if sharded(model):
                _as_the_base(adapted, DTYPES[trial.precision])
            trained: nn.Module = adapted
        elif sharded(model):
            initial = restored.enter_context(_parts_kept(model))
            trained = model.requires_grad_(True)
        else:
            initial = [weight.detach() for weight in model.parameters()]
            trained = copy.deepcopy(model).requires_grad_(True)
        if isinstance(trial.constraint, FreezeLayersConstraint):
            freeze(trained, trial.constraint)
        yield Trainable(trained, initial)


@contextmanager
def _without_hooks(model: PreTrainedModel, trial: TrialConfig) -> Iterator[None]:
    """While active, nothing gathers the parameters of ``model``, so that an engine can."""
    stop_gathering(model)
    try:
        yield
    except Exception as error:
        # These are raised on every rank alike. After any other the ranks may be waiting for each other elsewhere.
        if isinstance(error, TrainingError | TrialMoved | TrialStopped) or ranks.world_size() == 1:
            gather_for_forward(model, sharding_config(trial))
        raise
    gather_for_forward(model, sharding_config(trial))


def _as_the_base(adapted: nn.Module, dtype: torch.dtype) -> None:
    """Adapters in the number format of the model, which DeepSpeed gives whole models by itself."""
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)


@contextmanager
def _parts_kept(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """While active, ``model`` may be trained; afterwards this rank's parts of it hold their old values, as yielded."""
    kept = [part.detach().to("cpu", copy=True) for part in _parts(model)]
    log.debug("keeping %d bytes of this rank's weights in host memory", sum(one.nbytes for one in kept))
    try:
        yield kept
    finally:
        for part, one in zip(_parts(model), kept, strict=True):
            # A tensor of its own again: training has put all parts into one buffer of its optimizer.
            part.data = one.to(part.device)
        model.requires_grad_(True)


def _parts(model: nn.Module) -> list[Tensor]:
    return [own_part(parameter) for parameter in model.parameters()]


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
    at_most: int | None = None,
) -> Iterator[Tuned]:
    """The fine-tuned model for as long as the block lasts: whole on every rank, or under ZeRO 3 in shards.

    Forward passes of one in shards need all ranks.

    Raises:
        TrainingError: see :func:`training.loop.train.train`, which says what is given.
        ModelError: bf16 of a model that keeps some weights in float32.
    """
    _check_precision(model, trial)
    with trainable(model, trial) as (trained, initial):
        train(trained, trial, data, constraint, report, checkpointing=checkpointing, rungs=rungs, at_most=at_most)
        if not sharded(trained):
            yield Tuned(trained, Line(trained, initial))
            return
        gc.collect()  # an engine refers to itself, and its optimizer may be larger than the model
        sharding = sharding_config(trial)
        with gathering(trained, sharding):
            yield Tuned(trained, Line(trained, initial, sharding))
