"""The cache of a batch whose rows come and go while it is decoded: finished ones leave, others take their places.

All rows end at the same column, as with padding on the left. A row that joins is laid so that its prompt ends there
too, and columns that no row reaches back to any more are forgotten. Each row's columns lie side by side, so that a
window that slides over columns slides over its tokens.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import (
    DummyLayer,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
)

from training.models.slot_layer import SlotLayer

_JOINABLE = DynamicLayer, DynamicSlidingWindowLayer, LinearAttentionLayer, DummyLayer
"""Layers whose rows can join: keys and values, and states without columns. Nothing is known of subclasses."""


class RowCache:
    """A model's cache by its rows. What only some kinds of cache can do is refused by the others."""

    def __init__(self, cache: Any, device: torch.device) -> None:
        """Take over the cache that a forward pass over whole prompts returned."""
        self.cache, self._device = cache, device
        layers = getattr(cache, "layers", None) or []
        self.joins = (
            type(cache) is DynamicCache
            and not cache.offloading
            and all(type(layer) in _JOINABLE and _filled(layer) for layer in layers)
        )
        """Whether rows can join."""
        if self.joins:
            cache.layers = [SlotLayer(layer) if isinstance(layer, DynamicLayer) else layer for layer in layers]

    def keep(self, kept: Sequence[int]) -> list[int] | None:
        """Drop all rows but ``kept``, ascending.

        Returns:
            Which of the rows stands where now; None, and all stay, where the cache cannot drop any.
        """
        if not self.joins:
            return list(kept) if self._select(self._index(kept)) else None
        stay = [row for row in kept if row < len(kept)]
        gaps = sorted(set(range(len(kept))).difference(stay))
        moved = kept[len(stay) :]
        order = list(range(len(kept)))
        for gap, row in zip(gaps, moved, strict=True):
            order[gap] = row
        sources, targets, index = self._index(moved), self._index(gaps), self._index(order)
        for layer in self.cache.layers:
            if isinstance(layer, SlotLayer):
                layer.move(sources, targets, len(kept))
            else:
                layer.reorder_cache(index)
        return order

    def join(self, other: "RowCache", slots: int) -> None:
        """Append the rows of ``other``, which has seen no more columns; both must be able to.

        Args:
            other: of the same model.
            slots: how many rows there will be room for.
        """
        for mine, theirs in zip(self.cache.layers, other.cache.layers, strict=True):
            if isinstance(mine, SlotLayer):
                mine.join(theirs, slots)
            elif isinstance(mine, LinearAttentionLayer):
                for states, more in (
                    (mine.conv_states, theirs.conv_states),
                    (mine.recurrent_states, theirs.recurrent_states),
                ):
                    states |= {key: torch.cat([state, more[key]]) for key, state in states.items() if state is not None}

    def forget(self, columns: int) -> bool:
        """Forget so many columns on the left, which belong to no row; false, and they stay, where that is not known."""
        if self.joins:
            for layer in self.cache.layers:
                if isinstance(layer, SlotLayer):
                    layer.forget(columns)
        return self.joins

    def _select(self, index: Tensor) -> bool:
        """Keep the rows of ``index``, in any kind of cache.

        The states of hybrid models (Falcon-H1) have no selection of rows, or one that forgets them, but know beam
        search's reordering, which drops the rows that it is not given.
        """
        layers = getattr(self.cache, "layers", None) or ()
        names = ["batch_select_indices", "reorder_cache"]
        if any(hasattr(layer, "conv_states") for layer in layers):
            names = ["reorder_cache"]
        for name in names:
            if layers and all(hasattr(layer, name) for layer in layers):
                getattr(self.cache, name)(index)
                return True
        return False

    def _index(self, rows: Sequence[int]) -> Tensor:
        return torch.tensor(rows, dtype=torch.long, device=self._device)


def _filled(layer: Any) -> bool:
    """Whether the forward pass has left in ``layer`` what its kind is for."""
    return not isinstance(layer, DynamicLayer) or layer.is_initialized
