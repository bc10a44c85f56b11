"""Interventions on the residual stream that test whether a direction causes refusal (arXiv 2406.11717, section 2.4)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from training.models.loading import decoder_layers
from training.models.residual import Site, hidden_of
from training.models.writers import residual_writers


@contextmanager
def ablated_direction(model: torch.nn.Module, unit: Tensor) -> Iterator[None]:
    """While active, ``unit`` is removed from the residual stream at every layer and position: ``h - (h . r) r``.

    What enters a block, what its parts add to the residual stream (after their own norms, where an architecture has
    them, since a norm's weights would bring r back), and what leaves it are projected, so that nothing reads r.

    Args:
        model: a causal language model, with or without adapters.
        unit: ``[d_model]``, of length 1.

    Raises:
        ModelError: what a block adds to the residual stream cannot be found.
    """

    def without_direction(hidden: Tensor) -> Tensor:
        r = unit.to(hidden.device, hidden.dtype)
        return hidden - (hidden @ r)[..., None] * r

    writers = residual_writers(model)
    handles: list[RemovableHandle] = []
    try:
        for block, parts in zip(decoder_layers(model), writers, strict=True):
            handles.append(_on_input(block, without_direction))
            handles += [_on_output(module, without_direction) for module in (*parts, block)]
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def clamped_direction(model: torch.nn.Module, unit: Tensor, targets: Tensor) -> Iterator[None]:
    """While active, the projection on ``unit`` has a fixed value after every block: ``h + (target - h . r) r``.

    Gentler than ablation where the class that is to be imitated does not lie at 0.

    Args:
        model: a causal language model, with or without adapters.
        unit: ``[d_model]``, of length 1.
        targets: ``[layers]`` projection that each block's output shall have, such as the harmless mean's.
    """

    def holding(target: Tensor) -> Callable[[Tensor], Tensor]:
        def with_projection(hidden: Tensor) -> Tensor:
            r, value = unit.to(hidden.device, hidden.dtype), target.to(hidden.device, hidden.dtype)
            return hidden + (value - hidden @ r)[..., None] * r

        return with_projection

    blocks = decoder_layers(model)
    handles = [_on_output(block, holding(target)) for block, target in zip(blocks, targets, strict=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def added_vector(model: torch.nn.Module, vector: Tensor, layer: int, site: Site = "block_output") -> Iterator[None]:
    """While active, ``vector`` is added to the residual stream of one layer at every position.

    Args:
        model: a causal language model, with or without adapters.
        vector: ``[d_model]``; a unit direction times its separation moves the harmless onto the harmful mean.
        layer: 0-based index.
        site: before or after the block; the one the direction was read at.
    """

    def with_vector(hidden: Tensor) -> Tensor:
        return hidden + vector.to(hidden.device, hidden.dtype)

    block = decoder_layers(model)[layer]
    handle = _on_output(block, with_vector) if site == "block_output" else _on_input(block, with_vector)
    try:
        yield
    finally:
        handle.remove()


def _on_output(module: torch.nn.Module, change: Callable[[Tensor], Tensor]) -> RemovableHandle:
    def hook(_module: torch.nn.Module, _args: object, output: Tensor | tuple[Tensor, ...]) -> object:
        changed = change(hidden_of(output))
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    return module.register_forward_hook(hook)


def _on_input(module: torch.nn.Module, change: Callable[[Tensor], Tensor]) -> RemovableHandle:
    def hook(
        _module: torch.nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]
    ) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    return module.register_forward_pre_hook(hook, with_kwargs=True)
