"""The DeepSpeed engine round the model of a training."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from training.config import TrialConfig
from training.distributed.deepspeed_config import BatchSizes, clips_by_itself, deepspeed_config
from training.distributed.parameter_groups import parameter_groups
from training.distributed.progress import advance
from training.distributed.sharding import whole_shape
from training.errors import TrainingError

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine


def initialise(module: torch.nn.Module, trial: TrialConfig, batches: BatchSizes) -> "DeepSpeedEngine":
    """A DeepSpeed engine with torch's AdamW over the trainable parameters of ``module``.

    Args:
        module: with ``requires_grad`` set on what is trained.
        trial: precision, ZeRO stage, clipping, learning rate, weight decay, overrides.
        batches: from :meth:`BatchSizes.derive`.

    Raises:
        TrainingError: DeepSpeed refuses the overrides.
    """
    import deepspeed
    from deepspeed.runtime.config import DeepSpeedConfig
    from pydantic import ValidationError

    sizes = [(whole_shape(parameter).numel(), parameter.requires_grad) for parameter in module.parameters()]
    config = deepspeed_config(
        trial, batches, sum(size for size, _ in sizes), sum(size for size, trained in sizes if trained)
    )
    try:
        DeepSpeedConfig(config)
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise TrainingError(f"trial.deepspeed.overrides is refused by DeepSpeed ({reasons}): correct it") from error
    except (AssertionError, ValueError) as error:
        raise TrainingError(f"trial.deepspeed.overrides is refused by DeepSpeed ({error}): correct it") from error

    groups = parameter_groups(module, trial)
    trainable = [parameter for group in groups for parameter in group["params"]]
    optimizer = torch.optim.AdamW(
        groups, lr=trial.learning_rate, weight_decay=trial.weight_decay, betas=(0.9, 0.999), fused=True
    )
    engine, *_ = deepspeed.initialize(model=module, model_parameters=trainable, optimizer=optimizer, config=config)
    return engine


def step(engine: "DeepSpeedEngine", trial: TrialConfig) -> Tensor | float | None:
    """Count one forward and backward pass; the last of an optimizer step moves the weights.

    Returns:
        The global gradient norm before clipping, the same on every rank; None between two optimizer steps.
    """
    last = engine.is_gradient_accumulation_boundary()
    norm: Tensor | float | None = None
    if last and not clips_by_itself(trial):
        norm = torch.nn.utils.clip_grad_norm_(engine.module.parameters(), trial.gradient_clipping)
    engine.step()
    advance()
    if last and norm is None:
        norm = engine.get_global_grad_norm()
    return norm


def restart_optimizer(engine: "DeepSpeedEngine") -> None:
    """Forget what the optimizer of ``engine`` has seen; the weights stay.

    AdamW with zero moments and a step count of zero is a new one. They are zeroed in place, since DeepSpeed shards them
    and holds views of them.
    """
    for state in optimizer_states(engine):
        for name, value in state.items():
            if isinstance(value, Tensor):
                value.zero_()
            elif isinstance(value, int | float):
                state[name] = 0


def optimizer_states(engine: "DeepSpeedEngine") -> list[dict[str, Any]]:
    """What torch's AdamW below ``engine`` knows of each tensor that it steps, some of which are shards of several."""
    return list(_adamw(engine).state.values())


def begin_states(engine: "DeepSpeedEngine") -> None:
    """Give AdamW below an engine that has made no step what it would make itself at the first, so that it can be set.

    ZeRO 3 names the tensors to AdamW only while it steps them; below, parameters hold views of their part of the
    states, which DeepSpeed makes after the first step.
    """
    adamw, zero = _adamw(engine), engine.optimizer
    stepped = getattr(zero, "fp32_partitioned_groups_flat", None)
    for tensor in stepped or [one for group in adamw.param_groups for one in group["params"]]:
        if not adamw.state.get(tensor):
            moments = {name: torch.zeros_like(tensor) for name in ("exp_avg", "exp_avg_sq")}
            adamw.state[tensor] = {"step": torch.zeros((), device=tensor.device), **moments}
    link = getattr(zero, "_lazy_init_hp_params_optimizer_state", None)
    if link is not None:
        link()


def _adamw(engine: "DeepSpeedEngine") -> Any:
    optimizer: Any = engine.optimizer
    while hasattr(optimizer, "optimizer"):  # DeepSpeed's ZeRO and bf16 optimizers wrap torch's
        optimizer = optimizer.optimizer
    return optimizer


def free_optimizer(engine: "DeepSpeedEngine") -> None:
    """Let go of the optimizer of an engine that is ended, and so of its states and float32 copies of the weights.

    DeepSpeed's ``destroy`` leaves it on the engine, which is a reference cycle: both would stay in memory until Python
    next looks for garbage, and what is measured then would find the device full.
    """
    for name in ("optimizer", "basic_optimizer", "client_optimizer"):
        setattr(engine, name, None)
