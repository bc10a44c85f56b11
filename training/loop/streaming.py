"""A sharded model written to files that plain transformers loads, without ever being whole anywhere."""

import json
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from training.distributed.ranks import from_rank_zero, rank
from training.distributed.sharding import gathered, whole_shape

_FILES = 16
"""Of a large model about so many files are written, of which rank 0 holds one at a time."""
_SMALLEST, _LARGEST = 64 * 10**6, 5 * 10**9
"""Bounds on the size of a file in bytes, where no tensor is larger by itself."""


def gathered_on_rank_zero(weights: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """Copies of ``weights`` on the CPU, whole on rank 0 and absent elsewhere; all ranks must call it."""
    found: dict[str, Tensor] = {}
    for name, parameter in weights.items():
        with gathered(parameter) as whole:
            if rank() == 0:
                found[name] = whole.to("cpu", copy=True)
    return found


def save_sharded_model(model: PreTrainedModel, directory: Path) -> None:
    """Write a sharded model as :meth:`PreTrainedModel.save_pretrained` would; all ranks must call it.

    Parameters are gathered one by one, and rank 0 holds those of one file at a time, a sixteenth of a large model.

    Args:
        model: without adapters.
        directory: that rank 0 writes to; it exists there.
    """
    from huggingface_hub import split_torch_state_dict_into_shards
    from transformers.core_model_loading import revert_weight_conversion
    from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

    weights = _saved_weights(model)
    shapes = {name: torch.empty(whole_shape(one), dtype=one.dtype, device="meta") for name, one in weights.items()}
    total = sum(one.nbytes for one in shapes.values())
    split = split_torch_state_dict_into_shards(
        shapes,
        filename_pattern=SAFE_WEIGHTS_NAME.replace(".safetensors", "{suffix}.safetensors"),
        max_shard_size=min(_LARGEST, max(_SMALLEST, total // _FILES)),
    )
    placed: dict[str, str] = {}

    def write(file: str, tensors: dict[str, Tensor]) -> None:
        from safetensors.torch import save_file

        # As published: transformers keeps the experts of a mixture in one tensor, checkpoints of some have one each.
        tensors = {name: one.contiguous() for name, one in revert_weight_conversion(model, tensors).items()}
        save_file(tensors, directory / file, metadata={"format": "pt"})
        placed.update(dict.fromkeys(tensors, file))

    from_rank_zero(lambda: model.save_pretrained(directory, state_dict={}))  # all but the weights
    for file, names in split.filename_to_tensors.items():
        from_rank_zero(partial(write, file, gathered_on_rank_zero({name: weights[name] for name in names})))
    if split.is_sharded and rank() == 0:
        index = {"metadata": {"total_size": total}, "weight_map": placed}
        (directory / SAFE_WEIGHTS_INDEX_NAME).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def _saved_weights(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """What is saved of ``model`` by name: of tied weights one, and the buffers that belong to checkpoints."""
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    found: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for name, one in model.state_dict(keep_vars=True).items():
        if name not in tied and id(one) not in seen:
            found[name] = one
            seen.add(id(one))
    return found
