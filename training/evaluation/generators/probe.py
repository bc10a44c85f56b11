"""Whether a server runs the model in training: both give the same answers their log-probabilities.

The server's numbers are never exactly ours: its kernels add up in another order, and it mostly runs in bf16. How far
two such models may differ is found by shaking our own. A number that is rounded to bf16 is off by up to :data:`_UNIT`
of itself, by ``_UNIT / sqrt(3)`` in root mean square. Every product with weights is rounded twice, its weights (where
the checkpoint is float32) and what it puts out; a decoder layer's output twice, by its two sums. Taken as independent,
either is a relative error of ``_UNIT * sqrt(2 / 3)``. A second forward pass of ours puts it on what every module and
every layer of the decoder puts out, and on the logits, so that each architecture, depth and set of weights shows by how
much it amplifies it. With ``d`` the root mean square by which that changes the log-probabilities, the bound is ``3 *
sqrt(2) * d``: both sides may have such errors, and the 3 is room for errors that are not independent. A side in float32
or fp16 has less of them. Other weights, another adapter or a quantised server differ by more.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from training.distributed.lockstep import in_step
from training.distributed.shares import shared_out
from training.models.batching import BatchSize, TokenIds, in_batches, measuring, pad
from training.models.loading import base_model, decoder_layers
from training.models.logits import reduced_logits

Change = Callable[[Tensor], Tensor]
"""What is done to some numbers."""

_UNIT = 2.0**-9
"""Largest relative error of rounding to bf16, which has 8 significant bits."""
_SHAKE = _UNIT * math.sqrt(2 / 3)
"""Relative error of two roundings, in root mean square."""
_ROOM = 3.0
_AT_ONCE = 4
"""Texts per forward pass: a probe must not find the memory full."""


@dataclass(frozen=True)
class Forced:
    """What one model gives the tokens of some texts."""

    log_probabilities: list[float]
    """Of every token that counts, of all texts in order; in nats."""
    bound: float
    """Root mean square that rounding explains of another's difference from them."""


def forced(model: nn.Module, texts: TokenIds, starts: Sequence[int]) -> Forced:
    """Our own forward pass over ``texts``, whose tokens count from their start on; shared by all ranks, which call it.

    Raises:
        ModelError: memory does not suffice for a single text.
    """
    base = base_model(model)
    exact = _log_probabilities(base, texts, starts, lambda logits: logits)
    with _shaken(base) as shake:
        shaken = _log_probabilities(base, texts, starts, shake)
    return Forced(exact, _ROOM * math.sqrt(2) * distance(exact, shaken))


def _log_probabilities(base: PreTrainedModel, texts: TokenIds, starts: Sequence[int], change: Change) -> list[float]:
    """Of every token that counts, of all texts in order, by logits that ``change`` is done to."""
    size = BatchSize(_AT_ONCE)

    def rows_of(chosen: list[int]) -> list[list[float]]:
        found: list[list[float]] = [[] for _ in chosen]
        with measuring(base), in_step(base, base.device) as forward:

            def compute(batch: list[int]) -> tuple[list[int], Tensor]:
                rows = [chosen[index] for index in batch]
                ids, mask = pad([texts[row] for row in rows], padding_id=0, side="right", device=base.device)
                first = torch.tensor([starts[row] for row in rows], device=base.device)
                counts = (torch.arange(ids.shape[1], device=base.device) >= first[:, None]) & mask.bool()
                wanted, where = ids[counts], counts.flatten().nonzero().flatten()

                def reduce(logits: Tensor, part: slice) -> Tensor:
                    return change(logits.float()).log_softmax(dim=-1).gather(1, wanted[part, None])[:, 0]

                # The position before a token predicts it; no answer begins a row.
                each = reduced_logits(base, lambda: forward(input_ids=ids, use_cache=False), where - 1, reduce)
                return counts.sum(dim=1).tolist(), each.double().cpu()

            for batch, (sizes, each) in in_batches([len(texts[row]) for row in chosen], size, compute):
                for index, part in zip(batch, torch.split(each, sizes), strict=True):
                    found[index] = part.tolist()
        return found

    return [row for rows in shared_out([len(ids) for ids in texts], rows_of) for row in rows]


@contextmanager
def _shaken(base: PreTrainedModel) -> Iterator[Change]:
    """While active, all modules of the decoder put out what rounding could make of it: by chance, but always alike.

    Yields:
        what does the same to the logits.
    """
    chance = torch.Generator(base.device).manual_seed(0)

    def shake(states: Tensor) -> Tensor:
        noise = torch.randn(states.shape, generator=chance, device=states.device, dtype=torch.float32)
        return (states.float() * (1 + _SHAKE * noise)).to(states.dtype)

    def hook(_layer: nn.Module, _args: object, output: Any) -> Any:
        if isinstance(output, Tensor):
            return shake(output)
        return (shake(output[0]), *output[1:])

    layers = list(decoder_layers(base))
    parts = [part for layer in layers for part in layer.modules() if not list(part.children())]
    handles = [part.register_forward_hook(hook) for part in [*layers, *parts]]
    try:
        yield shake
    finally:
        for handle in handles:
            handle.remove()


def distance(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Root mean square of the difference."""
    return math.sqrt(sum((one - other) ** 2 for one, other in zip(ours, theirs, strict=True)) / len(ours))


@dataclass(frozen=True)
class Probe:
    """Answers of the base model, and what both sides give their tokens without any adapter."""

    texts: list[list[int]]
    """Prompt and answer."""
    starts: list[int]
    """Where each answer begins."""
    ours: Forced
    """By the model in training."""
    theirs: list[float]
    """By the server."""

    @property
    def fault(self) -> str | None:
        """How far the server's base model is from ours, in words; None where rounding explains it."""
        return _too_far(self.ours, self.theirs)

    def fault_of_adapter(self, ours: Forced, theirs: list[float]) -> str | None:
        """The same of an adapter, by what both sides give the same tokens with it.

        Adapters of little effect are compared more closely than rounding lets one model be compared: what an adapter
        changes at the server must be what it changes here, wherever that is four times what the two base models
        differ by. A server that left the adapter out, or has another trial's, is found so.
        """
        far = _too_far(ours, theirs)
        if far is not None:
            return far
        here = [one - base for one, base in zip(ours.log_probabilities, self.ours.log_probabilities, strict=True)]
        there = [one - base for one, base in zip(theirs, self.theirs, strict=True)]
        effect, off = distance(here, [0.0] * len(here)), distance(here, there)
        if effect > 4 * distance(self.ours.log_probabilities, self.theirs) and off > effect / 2:
            return (
                f"change by the adapter here by {effect:.3g} nats (root mean square over {len(here)} tokens), and "
                f"otherwise there, by {off:.3g} nats"
            )
        return None


def _too_far(ours: Forced, theirs: Sequence[float]) -> str | None:
    far = distance(ours.log_probabilities, theirs)
    if far <= ours.bound:  # never true of not a number
        return None
    return f"differ by {far:.3g} nats (root mean square over {len(theirs)} tokens; rounding explains {ours.bound:.3g})"
