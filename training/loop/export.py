"""A trained model as a folder that plain transformers and PEFT load."""

import copy
import json
import shutil
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from training.config import AdapterTuning, NullSpaceConstraint, TrialConfig
from training.constraints.null_space import folded
from training.distributed.ranks import from_rank_zero
from training.distributed.sharding import sharded
from training.errors import CheckpointError, ModelError
from training.loop.averaging import averaged_weights
from training.loop.names import MANIFEST_FILE
from training.loop.scaling import scale_weights
from training.loop.streaming import gathered_on_rank_zero, save_sharded_model
from training.loop.unpickling import data_alone
from training.models.adapters import attach
from training.models.loading import DTYPES

if TYPE_CHECKING:
    from peft import PeftModel

Form = Literal["adapter", "model"]
"""The adapters alone, or a whole model, into which adapters are merged."""


def form_of(trained: nn.Module) -> Form:
    """What the training changed: the adapters, or the whole model."""
    from peft import PeftModel

    return "adapter" if isinstance(trained, PeftModel) else "model"


def export(
    trained: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    directory: Path,
    *,
    form: Form,
    precision: Literal["fp32", "bf16"] | None = None,
) -> None:
    """Write ``trained`` and its tokenizer to ``directory``, which appears complete or not at all; rank 0 writes.

    All ranks must call it. A sharded model is gathered parameter by parameter, in the form that was trained.

    Args:
        trained: with or without adapters; left as it is.
        tokenizer: saved beside it.
        directory: replaced where it exists.
        form: what is written.
        precision: number format of a whole model's weights; None keeps the one it was trained in.

    Raises:
        ModelError: adapters are asked of a model without, or cannot be merged.
    """
    partial = directory.with_name(f"{directory.name}.partial")

    def begin() -> None:
        shutil.rmtree(partial, ignore_errors=True)
        if not sharded(trained):
            saved = _adapters_of(trained) if form == "adapter" else _whole(trained, precision)
            saved.save_pretrained(partial)

    def complete() -> None:
        tokenizer.save_pretrained(partial)
        shutil.rmtree(directory, ignore_errors=True)
        partial.rename(directory)

    from_rank_zero(begin)
    if sharded(trained):
        _save_parts(trained, partial, form, precision)
    from_rank_zero(complete)


def _save_parts(trained: nn.Module, directory: Path, form: Form, precision: str | None) -> None:
    if form != form_of(trained) or precision is not None:
        raise ModelError(
            "a model in shards is exported as it was trained: merge its adapters, or change its precision, afterwards"
        )
    if form == "model":
        save_sharded_model(cast(PreTrainedModel, trained), directory)
        return
    adapted = _adapters_of(trained)
    weights = gathered_on_rank_zero({name: one for name, one in adapted.named_parameters() if one.requires_grad})
    from_rank_zero(lambda: adapted.save_pretrained(directory, state_dict=weights))


def _adapters_of(trained: nn.Module) -> "PeftModel":
    if form_of(trained) != "adapter":
        raise ModelError("a fully tuned model has no adapters to export: export the form model")
    return cast("PeftModel", trained)


def _whole(trained: nn.Module, precision: str | None) -> PreTrainedModel:
    if form_of(trained) == "adapter":
        adapted = _adapters_of(trained)
        if getattr(adapted.get_base_model(), "is_quantized", False):
            raise ModelError(
                "adapters cannot be merged into 4-bit weights without loss: export the form adapter, and merge it "
                "into the model loaded in bf16"
            )
        # Merged in a copy: subtracting the adapters again would not give back the base weights bit for bit.
        trained = copy.deepcopy(adapted).merge_and_unload(safe_merge=True)
        if hasattr(trained, "peft_config"):
            del trained.peft_config
    elif precision is not None:
        trained = copy.deepcopy(trained)
    whole = cast(PreTrainedModel, trained)
    return whole if precision is None else cast(PreTrainedModel, whole.to(DTYPES[precision]))


def trained_model_of(checkpoint: Path, model: PreTrainedModel, scale: float = 1.0) -> nn.Module:
    """The model of a checkpoint, whole in this one process however many ranks and whichever ZeRO stage wrote it.

    Args:
        checkpoint: one directory, such as :func:`training.loop.checkpointing.latest` returns.
        model: the base model that the training started from; changed in place.
        scale: how far to go from there to the trained weights, see :mod:`training.loop.scaling`.

    Returns:
        ``model`` with the trained weights, or with the trained adapters.

    Raises:
        CheckpointError: it cannot be read, or is of another architecture.
        ModelError: its adapters cannot be scaled.
    """
    try:
        trial = TrialConfig.model_validate(json.loads((checkpoint / MANIFEST_FILE).read_text())["trial"])
        with data_alone():
            weights = _weights(checkpoint, trial)
    except (OSError, ValueError, KeyError, RuntimeError, UnpicklingError) as error:
        raise CheckpointError(f"the checkpoint {checkpoint} cannot be read ({error}): use another") from error
    adapted = isinstance(trial.tuning, AdapterTuning)
    initial = None if adapted or scale == 1 else [weight.detach().clone() for weight in model.parameters()]
    trained: nn.Module = model
    if isinstance(trial.tuning, AdapterTuning):
        trained = attach(model, trial.tuning, trial.seed)
    # Frozen weights are in no checkpoint of adapters, and a tied output head is stored once, as the embedding.
    expected = {name for name, parameter in trained.named_parameters() if parameter.requires_grad or not adapted}
    absent = expected - weights.keys()
    if absent:
        raise CheckpointError(
            f"the checkpoint {checkpoint} has no weight {sorted(absent)[0]}: it belongs to another model"
        )
    try:
        trained.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint {checkpoint} belongs to another model: {error}") from error
    scale_weights(trained, scale, initial)
    return trained


def _weights(checkpoint: Path, trial: TrialConfig) -> dict[str, Tensor]:
    """The trained weights by their name in the model, float32 where ZeRO keeps a float32 master copy of its own.

    Its bf16 at stage 1 has another form, which DeepSpeed's converter does not know: there the weights are those that
    the model ran with.
    """
    weights = _trained_weights(checkpoint, trial)
    return folded(weights, checkpoint) if isinstance(trial.constraint, NullSpaceConstraint) else weights


def _trained_weights(checkpoint: Path, trial: TrialConfig) -> dict[str, Tensor]:
    if trial.ema_decay is not None:
        return averaged_weights(checkpoint)
    if trial.deepspeed.zero_stage == 0 or any(checkpoint.glob("bf16_zero_*")):
        stored = torch.load(checkpoint / "mp_rank_00_model_states.pt", map_location="cpu", weights_only=True)
        weights = stored["module"]
    else:
        from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

        weights = get_fp32_state_dict_from_zero_checkpoint(
            str(checkpoint.parent), tag=checkpoint.name, exclude_frozen_parameters=True
        )
    return {name.removeprefix("model."): weight for name, weight in weights.items()}
