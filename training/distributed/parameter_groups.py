"""Which parameters train at which rate."""

from typing import Any

from torch import nn

from training.config import AdapterTuning, TrialConfig
from training.distributed.sharding import whole_shape

RATIO = "lr_ratio"
"""Entry of a group of parameters: what its learning rate is over the trial's."""


def parameter_groups(module: nn.Module, trial: TrialConfig) -> list[dict[str, Any]]:
    """What is trained of ``module``, as an optimizer takes it: one group, or two under LoRA+.

    As in PEFT's ``create_loraplus_optimizer``, the second has the B matrices and whatever has one dimension.
    """
    trained = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    ratio = trial.tuning.loraplus_lr_ratio if isinstance(trial.tuning, AdapterTuning) else None
    if ratio is None:
        return [{"params": [parameter for _, parameter in trained]}]
    faster = {name for name, parameter in trained if "lora_B" in name or len(whole_shape(parameter)) == 1}
    return [
        {"params": [parameter for name, parameter in trained if name not in faster], RATIO: 1.0},
        {"params": [parameter for name, parameter in trained if name in faster], RATIO: ratio},
    ]


def set_rate(optimizer: Any, rate: float) -> None:
    """Give every group of ``optimizer`` its learning rate, where the trial's is ``rate``."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(RATIO, 1.0)
