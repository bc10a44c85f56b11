"""Logits at chosen positions, as the model itself scales them, without paying for the others."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from training.data.samples import Batch
from training.models.loading import base_model
from training.models.packed_inputs import packed_inputs


def logits_at(base: PreTrainedModel, ids: Tensor, chosen: Tensor) -> Tensor:
    """Next-token logits at the chosen positions only.

    The output head's product with every token of a batch would take more memory than the rest of the model. The
    positions are picked on the head's doorstep, so that soft caps and scales behind it still apply.

    Args:
        base: a causal language model.
        ids: ``[batch, seq]``, padded on the right; causal attention needs no mask then.
        chosen: ``[batch, seq]`` bool.

    Returns:
        ``[chosen positions, vocabulary]`` float32, row by row.
    """

    def pick(_head: torch.nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (args[0][chosen],)

    handle = base.get_output_embeddings().register_forward_pre_hook(pick)
    try:
        logits: Tensor = base(input_ids=ids, use_cache=False).logits
    finally:
        handle.remove()
    return logits.float()


def model_inputs(model: nn.Module, batch: Batch) -> dict[str, Any]:
    """What the model is called with; see :func:`training.models.packed_inputs.packed_inputs` for a packed batch."""
    return {"input_ids": batch.input_ids} if batch.position_ids is None else packed_inputs(model, batch)


def _selecting(positions: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
    def select(_head: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden, *rest = args
        return (hidden.flatten(0, 1).index_select(0, positions), *rest)

    return select


def response_logits(model: nn.Module, batch: Batch) -> Tensor:
    """Logits that predict the response tokens, ``[response_tokens, vocabulary]``.

    The output head only sees the positions it is needed at, which for a small model with a large vocabulary saves most
    of the step. The choice is made by a hook before the head rather than by calling decoder and head apart, so that
    whatever an architecture does to its logits afterwards (scaling, soft caps) still happens.
    """
    head = base_model(model).get_output_embeddings()
    handle = head.register_forward_pre_hook(_selecting(batch.predicting))
    try:
        logits: Tensor = model(**model_inputs(model, batch), use_cache=False).logits
    finally:
        handle.remove()
    return logits
