"""Tokenizer, causal language model and adapters: one way in for Hub ids, local directories and the embedded model."""

import hashlib
import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from training.data.chat_settings import ChatSettings
from training.data.reasoning import set_reasoning
from training.distributed.sharding import gathered
from training.errors import ModelError
from training.models.library_warnings import silence_deprecations

if TYPE_CHECKING:
    from peft import PeftModel

_NOT_THE_MODEL = ("_name_or_path", "transformers_version", "use_cache", "_attn_implementation")
"""Entries of a model configuration that say where it was loaded from or how it runs, not what it computes."""

_CPU = torch.device("cpu")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def load_tokenizer(path: str | Path, chat: ChatSettings | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of the model at ``path``, ready for padding.

    Args:
        path: a Hub id or a local directory.
        chat: what its chat template is rendered with from here on; None leaves it as published, as it is exported.

    Raises:
        ModelError: it cannot be loaded, has no chat template, has neither a padding nor an end token, or its template
            does not read an argument that it is given.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except Exception as error:  # also of packages that are not installed, and whatever a damaged file leads to
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"no tokenizer could be loaded from {path}: {reason}") from error
    if not tokenizer.chat_template:
        raise ModelError(f"the tokenizer of {path} has no chat template: use a chat (instruct) model, or add one")
    if tokenizer.eos_token_id is None:
        raise ModelError(f"the tokenizer of {path} has no end-of-turn token (eos_token): set one")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if chat is not None:
        _bind(tokenizer, chat, str(path))
    return cast(PreTrainedTokenizerBase, tokenizer)


def _bind(tokenizer: PreTrainedTokenizerBase, chat: ChatSettings, path: str) -> None:
    """Write the settings of ``chat`` into ``tokenizer``, so that everybody who is handed it uses them."""
    template = tokenizer.get_chat_template()
    for name in chat.arguments:
        if not re.search(rf"\b{name}\b", template):
            raise ModelError(
                f"chat_template_kwargs ({name}) is read nowhere in the chat template of {path}: correct the name, or "
                "remove it"
            )
    bound = chat.bound(template)
    if bound != template:
        tokenizer.chat_template = bound
    if chat.reasoning != "auto":
        set_reasoning(tokenizer, chat.reasoning)


def load_model(path: str | Path, precision: str = "fp32", device: torch.device = _CPU) -> PreTrainedModel:
    """The causal language model at ``path``, whole, in evaluation mode, with SDPA attention where it has it.

    Args:
        path: a Hub id or a local directory.
        precision: ``fp32`` or ``bf16``.
        device: where to; on a CUDA device its weights go there one by one, without a copy in host memory.

    Raises:
        ModelError: it cannot be loaded.
    """
    silence_deprecations()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path, dtype=DTYPES[precision], device_map=None if device.type == "cpu" else {"": device}
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"no causal language model could be loaded from {path}: {error}") from error
    return cast(PreTrainedModel, model.eval())


def base_model(model: "torch.nn.Module | PeftModel") -> PreTrainedModel:
    """The transformers model inside ``model``, with any adapters it carries left in place."""
    while not isinstance(model, PreTrainedModel):
        inner = getattr(model, "base_model", None) or getattr(model, "module", None)
        if inner is None:
            raise ModelError(f"{type(model).__name__} is not a transformers model")
        model = getattr(inner, "model", inner) if not isinstance(inner, PreTrainedModel) else inner
    return model


def decoder(model: torch.nn.Module) -> torch.nn.Module:
    """The stack of decoder blocks with its embeddings, without the output head."""
    return cast(torch.nn.Module, base_model(model).get_decoder())


def decoder_layers(model: torch.nn.Module) -> torch.nn.ModuleList:
    """The decoder blocks of any decoder-only architecture of transformers, first to last.

    Found by structure, not by name: the one ``ModuleList`` with as many entries as the configuration has layers.

    Raises:
        ModelError: no such list exists.
    """
    base = base_model(model)
    depth = int(base.config.get_text_config().num_hidden_layers)
    candidates = [
        child for child in decoder(base).modules() if isinstance(child, torch.nn.ModuleList) and len(child) == depth
    ]
    if not candidates:
        raise ModelError(f"{type(base).__name__} has no list of {depth} decoder layers")
    return candidates[0]


@contextmanager
def gradient_checkpointing(model: torch.nn.Module, enabled: bool) -> Iterator[None]:
    """While active and ``enabled``, the backward pass computes the activations of the decoder layers again.

    Non-reentrant: under the reentrant kind the states that hooks capture can lose their gradient.

    Raises:
        ModelError: the architecture does not support it.
    """
    if not enabled:
        yield
        return
    base = base_model(model)
    if not base.supports_gradient_checkpointing:
        raise ModelError(f"gradient_checkpointing is not supported by {type(base).__name__}: set it to false")
    with warnings.catch_warnings():
        # Its new name is not in every release of transformers that we allow.
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing_(en|dis)able", category=FutureWarning)
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        try:
            yield
        finally:
            base.gradient_checkpointing_disable()


@torch.no_grad()
def model_fingerprint(model: PreTrainedModel) -> str:
    """A short hash that changes when the architecture, the precision or any weight of ``model`` changes.

    Every parameter enters by name, shape, type, its sum in float64 and an evenly spaced sample of its values, which
    stays fast where hashing 16 GB of weights would not be. Call it on a model without adapters; of a sharded one all
    ranks must call it, which gathers one parameter at a time and gives what the whole model does.
    """
    config = {key: value for key, value in model.config.to_dict().items() if key not in _NOT_THE_MODEL}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, parameter in sorted(model.named_parameters()):
        with gathered(parameter) as whole:
            flat = whole.flatten()
            stride = max(1, flat.numel() // 4096)
            sample = flat[::stride].float().cpu().numpy().tobytes()
            total = float(flat.sum(dtype=torch.float64))
            digest.update(f"{name} {tuple(whole.shape)} {whole.dtype} {total:.6e}".encode() + sample)
    return digest.hexdigest()[:16]
