"""Logits at chosen positions, as the model itself scales them, without paying for the others."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from training.data.samples import Batch
from training.distributed.sharding import sharded
from training.models.head import Scaling, scaling_of
from training.models.loading import base_model
from training.models.packed_inputs import packed_inputs

LOGIT_BYTES = 256 * 2**20
"""Bound on the float32 logits that are held at once. At a vocabulary of 128,000 these are 524 positions, enough for
the head's product to keep a GPU busy; their loss, probabilities and gradient take three times as much."""

Reduce = Callable[[Tensor, slice], Tensor]
"""Given the logits ``[positions, vocabulary]`` of some of the positions, and which, what is kept of them:
``[any, ...]``."""


def positions_at_once(base: PreTrainedModel) -> int:
    """How many positions have float32 logits of at most :data:`LOGIT_BYTES` together; at least 1."""
    return max(1, LOGIT_BYTES // (4 * int(base.config.get_text_config().vocab_size)))


def model_inputs(model: nn.Module, batch: Batch) -> dict[str, Any]:
    """What the model is called with; see :func:`training.models.packed_inputs.packed_inputs` for a packed batch."""
    return {"input_ids": batch.input_ids} if batch.position_ids is None else packed_inputs(model, batch)


def response_logits(model: nn.Module, batch: Batch) -> Tensor:
    """Logits that predict the response tokens, ``[response_tokens, vocabulary]``, all of them at once."""
    with _selecting(base_model(model).get_output_embeddings(), batch.predicting):
        logits: Tensor = model(**model_inputs(model, batch), use_cache=False).logits
    return logits


def reduced_logits(base: PreTrainedModel, forward: Callable[[], Any], positions: Tensor, reduce: Reduce) -> Tensor:
    """What ``reduce`` keeps of the logits at ``positions``, of which at most :data:`LOGIT_BYTES` are there at once.

    The output head sees the chosen positions only, chunk by chunk. With gradients, all but what is kept of a chunk is
    computed again in the backward pass. Few positions, and a head behind which a model does what we cannot repeat
    (:func:`training.models.head.scaling_of`), are one chunk. The head is called once as a module, however many chunks
    there are, so that ZeRO 3 gathers it once and ranks need not have equally many.

    Args:
        base: a causal language model.
        forward: calls it, or what is around it, on ``[batch, seq]`` tokens.
        positions: ``[chosen]`` into the flattened ``[batch * seq]`` positions.
        reduce: see :data:`Reduce`; it must not depend on how the positions are cut up.

    Returns:
        what was kept of every chunk, joined along the first dimension.
    """
    head = base.get_output_embeddings()
    scaling = scaling_of(base) if len(positions) > positions_at_once(base) else None
    if scaling is None or (sharded(head) and any(head.children())):  # the parts of an adapted head are gathered apart
        with _selecting(head, positions):
            logits = forward().logits
        return reduce(logits, slice(0, len(positions)))
    kept: list[Tensor] = []
    with _selecting(head, positions), _in_chunks(head, positions_at_once(base), scaling, reduce, kept.append):
        forward()
    return kept[0]


@contextmanager
def _selecting(head: nn.Module, positions: Tensor) -> Iterator[None]:
    """While active, the output head only sees the positions it is needed at.

    For a small model with a large vocabulary that saves most of a step. The choice is made on the head's doorstep and
    not by calling decoder and head apart, so that whatever an architecture does around them still happens.
    """

    def select(_head: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden, *rest = args
        return (hidden.flatten(0, -2).index_select(0, positions), *rest)

    handle = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _in_chunks(
    head: nn.Module, size: int, scaling: Scaling, reduce: Reduce, keep: Callable[[Tensor], None]
) -> Iterator[None]:
    """While active, the head returns what ``reduce`` keeps, which ``keep`` gets as autograd and ZeRO's hooks see it."""
    whole, own = head.forward, "forward" in vars(head)

    def chunk(hidden: Tensor, start: int) -> Tensor:
        return reduce(scaling(whole(hidden)), slice(start, start + len(hidden)))

    def forward(hidden: Tensor) -> Tensor:
        parts = zip(torch.split(hidden, size), range(0, len(hidden), size), strict=True)
        if torch.is_grad_enabled():
            return torch.cat([checkpoint(chunk, part, start, use_reentrant=False) for part, start in parts])
        return torch.cat([chunk(part, start) for part, start in parts])

    head.forward = forward
    handle = head.register_forward_hook(lambda _head, _args, output: keep(output))
    try:
        yield
    finally:
        handle.remove()
        if own:  # somebody else's wrapper
            head.forward = whole
        else:
            del head.forward
