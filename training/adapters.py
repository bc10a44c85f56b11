"""LoRA adapters on a base model that stays loaded: attached for one trial, removed without a trace."""

import warnings
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedModel

from training.config import AdapterTuning
from training.errors import ModelError

if TYPE_CHECKING:
    from peft import PeftModel


def attach(model: PreTrainedModel, tuning: AdapterTuning, seed: int) -> "PeftModel":
    """Fresh adapters in ``model``, which computes exactly what it did before until they are trained.

    Args:
        model: the base model; its weights are frozen and its linear layers wrapped in place.
        tuning: rank, scaling, dropout and targets.
        seed: of the adapters' initial weights.

    Raises:
        ModelError: no module of the model has one of the target names.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    config = LoraConfig(
        r=tuning.rank,
        lora_alpha=tuning.alpha,
        lora_dropout=tuning.dropout,
        target_modules=tuning.targets,
        task_type=TaskType.CAUSAL_LM,
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)  # PEFT's own
        torch.manual_seed(seed)
        try:
            adapted: PeftModel = get_peft_model(model, config)
        except ValueError as error:
            raise ModelError(
                f"tuning.targets ({tuning.targets!r}) names no module of {type(model).__name__}: {error}"
            ) from error
    return adapted


def detach(adapted: "PeftModel") -> PreTrainedModel:
    """Remove the adapters; the base model is bit for bit what it was, with its original modules."""
    base: PreTrainedModel = adapted.unload()
    if hasattr(base, "peft_config"):
        del base.peft_config
    for parameter in base.parameters():
        if parameter.is_floating_point():  # 4-bit weights are bytes, which have no gradient
            parameter.requires_grad_(True)
    return base
