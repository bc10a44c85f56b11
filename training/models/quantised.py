"""A base model in 4 bits, under adapters in full precision (QLoRA, arXiv 2305.14314)."""

import importlib.util
from pathlib import Path
from typing import cast

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from training.errors import ModelError
from training.models.loading import DTYPES


def load_quantised_model(path: str | Path, precision: str, device: torch.device) -> PreTrainedModel:
    """The causal language model at ``path`` with nf4 weights on ``device``, in evaluation mode.

    Args:
        path: a Hub id or a local directory.
        precision: ``fp32`` or ``bf16``, of activations and adapters.
        device: a CUDA device.

    Raises:
        ModelError: there is no CUDA device, bitsandbytes is not installed, or the model cannot be loaded.
    """
    if device.type != "cuda":
        raise ModelError(
            f"tuning.type (qlora) needs a CUDA GPU, and this worker trains on {device.type}: use lora instead"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError("tuning.type (qlora) needs bitsandbytes: pip install 'procon-sweeps[qlora]', or use lora")
    from transformers import BitsAndBytesConfig

    dtype = DTYPES[precision]
    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, quantization_config=settings, device_map={"": device}
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"no causal language model could be loaded from {path} in 4 bits: {error}") from error
    return cast(PreTrainedModel, model.eval())
