"""A fresh optimizer in the middle of a training."""

from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine


def restart_optimizer(engine: "DeepSpeedEngine") -> None:
    """Forget what the optimizer of ``engine`` has seen; the weights stay.

    AdamW with zero moments and a step count of zero is a new one. They are zeroed in place, since DeepSpeed shards them
    and holds views of them.
    """
    optimizer: Any = engine.optimizer
    while hasattr(optimizer, "optimizer"):  # DeepSpeed's ZeRO and bf16 optimizers wrap torch's
        optimizer = optimizer.optimizer
    for state in optimizer.state.values():
        for name, value in state.items():
            if isinstance(value, Tensor):
                value.zero_()
            elif isinstance(value, int | float):
                state[name] = 0
