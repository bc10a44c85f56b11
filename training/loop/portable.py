"""What a training has learnt, in a form that a group of another size can go on from.

DeepSpeed's own checkpoints of ZeRO 1 to 3 hold each rank's share and are refused by a group of another size; its
universal checkpoint is made of them afterwards, outside a training. Here every trained weight is written once more,
whole, with what AdamW knows of it, in as many files as there are ranks, by DeepSpeed's functions for that.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from training.distributed import ranks
from training.distributed.engine import begin_states, optimizer_states

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

FILES = "portable-*.pt"
MOMENTS = ("exp_avg", "exp_avg_sq")


def write(engine: "DeepSpeedEngine", directory: Path, beside: dict[str, Any]) -> None:
    """Write it into ``directory``, which is there; all ranks must call it.

    Each parameter is gathered on all ranks, one after the other, and kept by one of them.

    Args:
        engine: holds model and optimizer.
        directory: of the checkpoint.
        beside: what else whoever goes on has to know; plain values and tensors, the same on every rank.
    """
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    own: dict[str, dict[str, Tensor]] = {}
    for index, (name, parameter) in enumerate(_trained(engine)):
        whole = {"weight": safe_get_full_fp32_param(parameter)}
        whole |= {moment: safe_get_full_optimizer_state(parameter, moment) for moment in MOMENTS}
        if index % ranks.world_size() == ranks.rank():
            own[name] = {key: value.detach().to("cpu", copy=True) for key, value in whole.items()}
    steps = max((float(state["step"]) for state in optimizer_states(engine) if "step" in state), default=0.0)
    torch.save({"beside": beside, "steps": steps, "parameters": own}, directory / f"portable-{ranks.rank():05d}.pt")


def is_in(directory: Path) -> bool:
    """Whether a checkpoint has it."""
    return next(directory.glob(FILES), None) is not None


def read(engine: "DeepSpeedEngine", directory: Path) -> dict[str, Any]:
    """Take it from ``directory``, whatever the number of ranks that wrote it; all ranks must call it.

    Returns:
        What was written beside it.

    Raises:
        Exception: as of ``torch.load``, of files that are damaged or of another model.
    """
    from deepspeed.runtime.zero import GatheredParameters
    from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

    parts: list[dict[str, Any]] = [
        torch.load(file, map_location="cpu", mmap=True, weights_only=True) for file in sorted(directory.glob(FILES))
    ]
    begin_states(engine)
    kept = {name: states for part in parts for name, states in part["parameters"].items()}
    for name, parameter in _trained(engine):
        states = {key: value.to(parameter.device) for key, value in kept[name].items()}
        safe_set_full_fp32_param(parameter, states["weight"])
        for moment in MOMENTS:
            safe_set_full_optimizer_state(parameter, states[moment], moment)
        with GatheredParameters([parameter], modifier_rank=0), torch.no_grad():
            if ranks.rank() == 0 or parameter.shape == states["weight"].shape:
                parameter.copy_(states["weight"])
    for state in optimizer_states(engine):
        if isinstance(state.get("step"), Tensor):
            state["step"].fill_(parts[0]["steps"])
        elif "step" in state:
            state["step"] = parts[0]["steps"]
    beside: dict[str, Any] = parts[0]["beside"]
    return beside


def _trained(engine: "DeepSpeedEngine") -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, one) for name, one in engine.module.named_parameters() if one.requires_grad)
