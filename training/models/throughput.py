"""How hard the hardware works: floating-point operations of a token, and what a device can do at most."""

import torch
from torch import nn

from training.distributed.sharding import whole_shape
from training.models.loading import base_model

_PEAKS = (
    ("B200", 2250e12),
    ("GH200", 989e12),
    ("H200", 989e12),
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989e12),
    ("A100", 312e12),
    ("L40S", 362e12),
    ("L4", 121e12),
    ("A10G", 70e12),
    ("RTX 4090", 165e12),
)
"""Dense bf16 operations per second by a part of the device's name, from the makers' data sheets; first match wins."""


def peak_flops(device: torch.device, precision: str) -> float | None:
    """Floating-point operations per second at most; None where the device or its number format is not in the table."""
    if device.type != "cuda" or precision != "bf16":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in _PEAKS if part in name), None)


def flops_per_token(model: nn.Module, sequence: float, *, full: bool) -> float:
    """Floating-point operations of training on one token (arXiv 2204.02311, appendix B).

    Six for each weight that a token is multiplied with, and the attention scores; under adapters four, since the frozen
    weights get no gradients of their own.

    Args:
        model: without adapters.
        sequence: tokens per sample, which attention reaches over.
        full: whether every weight is trained.
    """
    base = base_model(model)
    config = base.config.get_text_config()
    weights = sum(whole_shape(parameter).numel() for parameter in base.parameters())
    if base.get_output_embeddings().weight is not base.get_input_embeddings().weight:
        weights -= whole_shape(base.get_input_embeddings().weight).numel()  # looked up, never multiplied
    attention = 2 * int(config.num_hidden_layers) * int(config.hidden_size) * sequence
    return float((6 if full else 4) * weights + 6 * attention)
