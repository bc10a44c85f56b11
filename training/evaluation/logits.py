"""Logits at chosen positions, as the model itself scales them, without paying for the others."""

import torch
from torch import Tensor
from transformers import PreTrainedModel


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
