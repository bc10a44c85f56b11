"""The residual stream, read where it is raw: by hooks on the decoder layers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from training.models.loading import decoder_layers

Site = Literal["block_input", "block_output"]


def hidden_of(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The hidden states ``[batch, seq, d_model]`` in what a decoder layer returns."""
    return output[0] if isinstance(output, tuple) else output


@contextmanager
def capture(model: torch.nn.Module, layers: Sequence[int], site: Site = "block_output") -> Iterator[dict[int, Tensor]]:
    """While active, every forward pass leaves the residual stream of ``layers`` in the yielded dictionary.

    Hooks sit on the decoder layers themselves, never on submodules (whose tensors lose their gradient under
    reentrant checkpointing), and not on ``hidden_states`` (whose last entry comes after the final norm).

    Args:
        model: a causal language model, with or without adapters or a DeepSpeed engine around it.
        layers: 0-based indices.
        site: before or after the block.

    Yields:
        layer index -> ``[batch, seq, d_model]`` of the latest forward pass, with its graph.
    """
    states: dict[int, Tensor] = {}
    blocks = decoder_layers(model)
    handles = []

    def reader(index: int) -> None:
        def before(_module: torch.nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
            states[index] = args[0] if args else kwargs["hidden_states"]

        def after(_module: torch.nn.Module, _args: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]) -> None:
            states[index] = hidden_of(output)

        if site == "block_input":
            handles.append(blocks[index].register_forward_pre_hook(before, with_kwargs=True))
        else:
            handles.append(blocks[index].register_forward_hook(after))

    for layer in layers:
        reader(layer)
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()
        states.clear()
