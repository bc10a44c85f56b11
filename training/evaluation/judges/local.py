"""Judges that are models of transformers on this machine."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from training.config.judges import ClassifierJudge, GenerativeJudge
from training.distributed.progress import follow
from training.errors import JudgeError
from training.models.batching import is_out_of_memory

log = logging.getLogger(__name__)

_LOADING = (OSError, ValueError, RuntimeError, ImportError, KeyError)
_UNBOUNDED = 10**9  # tokenizers without a limit report a number beyond this


def load(config: ClassifierJudge | GenerativeJudge, kind: Any) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model of ``config`` on the CPU, in the precision it was saved in and in evaluation mode, and its tokenizer.

    Args:
        config: names model and device.
        kind: the ``AutoModelFor…`` class that it must be.

    Raises:
        JudgeError: it cannot be loaded, lacks weights, or the device is not there.
    """
    device_of(config)  # told before minutes of loading
    try:
        tokenizer = AutoTokenizer.from_pretrained(config.model)
        model, found = kind.from_pretrained(config.model, dtype="auto", output_loading_info=True)
    except _LOADING as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise JudgeError(
            f"judge {config.name}: model ({config.model}) cannot be loaded: {reason}; "
            f"name a local directory or a Hub id of a model that {kind.__name__} reads"
        ) from error
    if found["missing_keys"]:  # transformers fills them at random, and such a judge would guess
        raise JudgeError(
            f"judge {config.name}: model ({config.model}) lacks the weights {sorted(found['missing_keys'])[0]} and "
            f"more that a judge of type {config.type} needs: name a model trained for it"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if model.config.get_text_config().pad_token_id is None:
        model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    follow(model)
    return model.eval(), tokenizer


@contextmanager
def on_its_device(config: ClassifierJudge | GenerativeJudge, model: PreTrainedModel) -> Iterator[None]:
    """While active, ``model`` lies where ``config`` says; afterwards in the memory of the host.

    So judges take turns on a GPU, and none stands in the way of the next training.

    Raises:
        JudgeError: memory does not suffice for the model.
    """
    device = device_of(config)
    try:
        model.to(device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise JudgeError(
            f"judge {config.name}: memory of {device} does not suffice for {config.model} beside the model that is "
            f"measured: set device (now {config.device}) to cpu, or ask it at an endpoint"
        ) from error
    try:
        yield
    finally:
        if device.type != "cpu":
            model.to("cpu")
            torch.cuda.empty_cache()


def device_of(config: ClassifierJudge | GenerativeJudge) -> torch.device:
    """Where ``config`` runs.

    Raises:
        JudgeError: there is no such GPU.
    """
    there = torch.cuda.is_available()
    if config.device == "auto":
        return torch.device("cuda" if there else "cpu")
    device = torch.device(config.device)
    if device.type == "cuda" and (not there or (device.index or 0) >= torch.cuda.device_count()):
        raise JudgeError(f"judge {config.name}: device ({config.device}) is not there: write auto or cpu")
    return device


def longest_input(
    config: ClassifierJudge | GenerativeJudge, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> int:
    """The longest input in tokens that settings, model and tokenizer all allow."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None) or _UNBOUNDED
    return min(config.max_length, int(positions), int(tokenizer.model_max_length or _UNBOUNDED))


def out_of_memory(config: ClassifierJudge | GenerativeJudge) -> JudgeError:
    """What to say where not even one answer fits."""
    return JudgeError(
        f"judge {config.name}: memory does not suffice for one answer: lower max_length ({config.max_length}), "
        f"or set device (now {config.device}) to cpu"
    )
