"""How many rows memory has room for at once: of the cache, of activations, and of logits."""

from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from training.distributed.lockstep import Forward
from training.models.batching import is_out_of_memory

CPU_BYTES = 2**30
"""What a batch may take on a CPU, whose memory other processes have their part of."""
_USED = 0.8
"""Share of the free memory that a batch may take; the rest is for what is not counted. Too large a batch is halved."""
_PROBED = (1, 9)
"""Tokens of the two rows whose caches are measured: states that do not grow are told from what each token adds."""

_caches: WeakKeyDictionary[nn.Module, tuple[int, float]] = WeakKeyDictionary()


def rows_decoded(base: PreTrainedModel, forward: Forward, new_tokens: int) -> Callable[[int], int]:
    """How many prompts of a length can be answered at once; at least 1. Memory counts that is free now.

    Args:
        base: a causal language model.
        forward: what it is called by; see :func:`training.distributed.lockstep.in_step`.
        new_tokens: longest answer.
    """
    state, each = _cache_bytes(base, forward)
    free = _free_bytes(base.device)  # and not later, when a cache is there already
    logits = int(base.config.get_text_config().vocab_size) * (base.dtype.itemsize + 4)

    def rows(longest: int) -> int:
        cache = state + each * (longest + new_tokens)
        return _fitting(free, cache + max(logits, longest * _activation_bytes(base)))

    return rows


def rows_read(base: PreTrainedModel, captured: int = 0) -> Callable[[int], int]:
    """How many rows of a length a forward pass without cache can take at once, logits not counted; at least 1.

    Args:
        base: a causal language model.
        captured: layers whose states are kept until its end.
    """
    states = captured * int(base.config.get_text_config().hidden_size) * base.dtype.itemsize
    return lambda longest: _fitting(_free_bytes(base.device), longest * (_activation_bytes(base) + states))


def _fitting(free: int, bytes_of_a_row: float) -> int:
    return max(1, int(_USED * free / bytes_of_a_row))


def _free_bytes(device: torch.device) -> int:
    if device.type != "cuda":
        return CPU_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


def _activation_bytes(base: PreTrainedModel) -> int:
    """Of a token in a forward pass without gradients: what the widest layer holds at once."""
    config = base.config.get_text_config()
    hidden = int(config.hidden_size)
    inner = getattr(config, "intermediate_size", None) or 4 * hidden
    widest = max(inner) if isinstance(inner, list) else int(inner)
    return int((8 * hidden + 3 * widest) * base.dtype.itemsize)


def _cache_bytes(base: PreTrainedModel, forward: Forward) -> tuple[int, float]:
    """Bytes of a row's cache that are there from the first token, and what each further one adds; measured once."""
    if base not in _caches:
        found = []
        try:
            for tokens in _PROBED:
                ids = torch.zeros(1, tokens, dtype=torch.long, device=base.device)
                cache = getattr(forward(input_ids=ids, use_cache=True), "past_key_values", None)
                found.append(sum(tensor.nbytes for tensor in _tensors(cache)))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return 0, 0.0  # the first batch will say so
        few, many = found
        each = max(0.0, (many - few) / (_PROBED[1] - _PROBED[0]))
        _caches[base] = max(0, int(few - each * _PROBED[0])), each
    return _caches[base]


def _tensors(cache: Any) -> Iterator[Tensor]:
    """All tensors in a cache, whatever its layers call them: keys and values, and the states of hybrid models."""
    waiting: list[Any] = [vars(layer) for layer in getattr(cache, "layers", None) or ()]
    while waiting:
        found = waiting.pop()
        if isinstance(found, Tensor):
            yield found
        elif isinstance(found, dict | list | tuple):
            waiting += found.values() if isinstance(found, dict) else found
