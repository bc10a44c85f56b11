"""LoRA adapters on a base model that stays loaded: attached for one trial, removed without a trace."""

import warnings
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import PreTrainedModel

from training.config import AdapterTuning
from training.distributed.sharding import whole_shape
from training.errors import ModelError
from training.models.loading import decoder_layers

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
        use_rslora=tuning.use_rslora,
        use_dora=tuning.use_dora,
        exclude_modules=unfit_for_adapters(model) or None,
        task_type=TaskType.CAUSAL_LM,
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)  # PEFT's own
        torch.manual_seed(seed)
        try:
            adapted: PeftModel = get_peft_model(model, config)
        except ValueError as error:
            fault = "names no module of" if "not found in the base model" in str(error) else "gets no adapters in"
            raise ModelError(f"tuning.targets ({tuning.targets!r}) {fault} {type(model).__name__}: {error}") from error
    return adapted


def unfit_for_adapters(model: nn.Module) -> list[str]:
    """Linear layers that no choice of targets gives an adapter, since it would do nothing or break the layer.

    Mamba's fused kernels read the weights of ``out_proj`` past the layer (PEFT refuses it in some of the architectures
    that have one), and a router that is a linear layer by inheritance puts out more than one tensor (Llama 4).
    """
    unfit = []
    for name, module in model.named_modules():
        if all(hasattr(module, part) for part in ("A_log", "D", "conv1d", "out_proj")):
            unfit.append(f"{name}.out_proj")
        own = type(module).forward is not nn.Linear.forward and type(module).__module__.startswith("transformers.")
        if isinstance(module, nn.Linear) and own:
            unfit.append(name)
    return unfit


def left_out(adapted: nn.Module) -> str | None:
    """Which weights of the decoder layers ``all-linear`` does not reach, in words; None where it reaches all.

    The experts of a mixture are no linear layers where an architecture keeps them in one tensor.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    reached = {
        id(weight)
        for module in adapted.modules()
        if isinstance(module, BaseTunerLayer)
        for weight in module.parameters()
    }
    sizes: dict[str, int] = {}
    total = 0
    for layer in decoder_layers(adapted):
        for name, weight in layer.named_parameters():
            if "lora_" in name:
                continue
            size = whole_shape(weight).numel()
            total += size
            if len(whole_shape(weight)) in (2, 3) and "conv" not in name and id(weight) not in reached:
                sizes[name.removesuffix(".weight")] = sizes.get(name.removesuffix(".weight"), 0) + size
    if not sizes:
        return None
    share = sum(sizes.values()) / total
    return f"adapters do not reach {', '.join(sizes)} ({share:.0%} of the weights of the decoder layers)"


def detach(adapted: "PeftModel") -> PreTrainedModel:
    """Remove the adapters; the base model is bit for bit what it was, with its original modules."""
    base: PreTrainedModel = adapted.unload()
    if hasattr(base, "peft_config"):
        del base.peft_config
    for parameter in base.parameters():
        if parameter.is_floating_point():  # 4-bit weights are bytes, which have no gradient
            parameter.requires_grad_(True)
    return base
