"""The code that computes attention: chosen by name, refused where it cannot run."""

import importlib.util
import re
from typing import TYPE_CHECKING

from training.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PACKAGES = {
    "flash_attention_2": ("flash_attn", "flash-attn"),
    "flash_attention_3": ("flash_attn_interface", "flash-attn-3"),
}
"""Module, and package that brings it, by implementation."""


def attention_fault(name: str | None, *, gpu: bool) -> str | None:
    """Why the implementation ``name`` cannot run on this machine, in words; None where it can.

    Args:
        name: ``model.attn_implementation``.
        gpu: whether workers train on a CUDA device.
    """
    if name is None or name in ("sdpa", "eager"):
        return None
    if not gpu:
        return f"attn_implementation ({name}) needs a CUDA device, and workers train on the CPU: use sdpa"
    module, package = ("kernels", "kernels") if "/" in name else _PACKAGES[name]
    if importlib.util.find_spec(module) is None and importlib.util.find_spec("kernels") is None:
        return f"attn_implementation ({name}) needs the package {package}: pip install {package}, or use sdpa"
    return None


def use_attention(model: "PreTrainedModel", name: str | None) -> None:
    """Make ``model`` compute attention by the implementation ``name``; None leaves what transformers has chosen.

    Raises:
        ModelError: it is not supported by the architecture, or cannot run here.
    """
    if name is None:
        return
    fault = attention_fault(name, gpu=model.device.type == "cuda")
    if fault is not None:
        raise ModelError(fault)
    try:
        model.set_attn_implementation(name)
    except (ValueError, ImportError, OSError) as error:
        reason = re.split(r"(?<=[.:])\s", str(error).strip() or type(error).__name__)[0]
        raise ModelError(
            f"attn_implementation ({name}) cannot be had for {type(model).__name__}: {reason}; use sdpa or eager"
        ) from error
    if model.config._attn_implementation != name and "/" not in name:
        raise ModelError(f"attn_implementation ({name}) cannot be had for {type(model).__name__}: use sdpa or eager")
