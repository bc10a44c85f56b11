"""Several samples in one row: what a model is told so that it keeps them apart."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from training.data.samples import Batch
from training.models.loading import base_model


def packed_inputs(model: nn.Module, batch: Batch) -> dict[str, Any]:
    """What ``model`` is called with for a packed batch.

    Attention gets the block-diagonal masks that transformers builds from ``position_ids``: built here, since not every
    architecture passes the positions on to the mask (gpt-oss). flash-attention, and the convolutions and recurrences of
    hybrid models, want one row and the boundaries in it instead; the latter keep samples apart with their own kernels
    only, and transformers raises where these are not installed.
    """
    from transformers.masking_utils import create_masks_for_generate

    assert batch.position_ids is not None, "the batch is not packed"
    base = base_model(model)
    ids, positions = batch.input_ids, batch.position_ids
    recurrent = keeps_states(base.config)
    if recurrent or "flash" in str(base.config._attn_implementation):
        row: dict[str, Any] = {"input_ids": ids.flatten()[None], "position_ids": positions.flatten()[None]}
        return row | _boundaries(row["position_ids"][0]) if recurrent else row
    like = torch.empty((*ids.shape, 0), dtype=base.dtype, device=ids.device)  # only shape and type are looked at
    masks = create_masks_for_generate(base.config, like, None, None, position_ids=positions)
    return {"input_ids": ids, "position_ids": positions, "attention_mask": masks}


def keeps_states(config: PreTrainedConfig) -> bool:
    """Whether a model of this configuration has layers whose state goes from token to token: no mask holds it back."""
    from transformers import DynamicCache

    return any(hasattr(layer, "conv_states") for layer in DynamicCache(config=config).layers)


def _boundaries(positions: Tensor) -> dict[str, Any]:
    """Where samples begin in a row of ``positions`` ``[tokens]``; every token of padding is a sample of its own."""
    begins = positions == 0
    starts = begins.nonzero().flatten()
    ends = torch.cat([starts, starts.new_tensor([len(positions)])]).to(torch.int32)
    longest = int(ends.diff().max())
    return {
        "seq_idx": (begins.cumsum(0) - 1).to(torch.int32)[None],
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": longest,
        "max_length_k": longest,
    }
