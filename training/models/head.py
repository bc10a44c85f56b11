"""What an architecture does to its logits behind the output head: nothing, a scale, or a soft cap."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

from training.models.loading import decoder

Scaling = Callable[[Tensor], Tensor]
"""Logits of the model ``[..., vocabulary]`` from what its output head returns."""

_SOFT_CAPS = ("final_logit_softcapping", "logits_soft_cap")
"""Fields of configurations that say at what logits level off."""
_LARGEST = 60.0
"""Of the logits that are tried: beyond the usual soft caps, which are 30."""

_known: WeakKeyDictionary[nn.Module, Scaling | None] = WeakKeyDictionary()


def scaling_of(base: PreTrainedModel) -> Scaling | None:
    """What ``base`` makes of its head's output, found by trying; None where that is none of what we know.

    Its own forward pass is run with decoder and head replaced by constants, which costs next to nothing and touches no
    parameter. Granite and Cohere scale their logits, Gemma 2 caps them, most do neither.
    """
    if base not in _known:
        try:
            _known[base] = _found(base)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError):
            _known[base] = None  # its forward pass wants more of its decoder than a constant
    return _known[base]


@torch.no_grad()
def _found(base: PreTrainedModel) -> Scaling | None:
    config = base.config.get_text_config()
    device = base.device
    tried = torch.linspace(-_LARGEST, _LARGEST, int(config.vocab_size), device=device)[None, None]
    states, ids = torch.zeros(1, 1, int(config.hidden_size), device=device), torch.zeros_like(tried[..., 0]).long()
    body, head = decoder(base), base.get_output_embeddings()
    with _replaced(base, body, _Output(last_hidden_state=states)), _replaced(base, head, tried):
        found = base.forward(input_ids=ids, use_cache=False).logits
    if found.shape != tried.shape:
        return None
    found, wide = found.double(), tried.double()
    scale = float((found * wide).sum() / wide.square().sum())
    caps = [float(getattr(config, name, None) or 0) for name in _SOFT_CAPS]
    candidates: list[Scaling] = [_unchanged, partial(_scaled, scale=scale)]
    candidates += [partial(_soft_capped, cap=cap) for cap in caps if cap]
    return next((one for one in candidates if torch.allclose(one(wide), found, rtol=1e-6, atol=1e-6)), None)


def _unchanged(logits: Tensor) -> Tensor:
    return logits


def _scaled(logits: Tensor, scale: float) -> Tensor:
    return logits * scale


def _soft_capped(logits: Tensor, cap: float) -> Tensor:
    return torch.tanh(logits / cap) * cap


class _Output(BaseModelOutputWithPast):  # type: ignore[misc]
    """A decoder's output with nothing in it but the last hidden state, whatever else is asked of it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)


class _Constant(nn.Module):
    """A module that returns the same whatever it is given, and is else what it stands for."""

    def __init__(self, output: Any, original: nn.Module) -> None:
        super().__init__()
        self.output = output
        self.original = (original,)  # in a tuple, and so none of its children
        self.there = nn.Parameter(torch.empty(0), requires_grad=False)  # a model asks its parameters for their device

    def forward(self, *_args: Any, **_options: Any) -> Any:
        return self.output

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["original"][0], name)


@contextmanager
def _replaced(base: nn.Module, module: nn.Module, output: Any) -> Iterator[None]:
    """While active, ``output`` stands for what ``module``, a child of ``base``, returns.

    Raises:
        KeyError: it is no child of it.
    """
    names = [name for name, child in base.named_children() if child is module]
    if not names:
        raise KeyError(type(module).__name__)
    base._modules[names[0]] = _Constant(output, module)
    try:
        yield
    finally:
        base._modules[names[0]] = module
