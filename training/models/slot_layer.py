"""Keys and values of a batch whose rows come and go while it is decoded.

transformers' own layers join old and new keys with ``torch.cat`` at every step, which copies the whole cache. Here the
new ones are written beside the old ones.
"""

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

_SPARE_SHARE = 4
"""Buffers are made for a quarter more columns than there are, so that one column in five is copied a step at most."""
_SPARE_LEAST = 16


class SlotLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one attention layer, in buffers with room for more rows and more columns."""

    def __init__(self, prefilled: DynamicLayer) -> None:
        """Take over what a forward pass over whole prompts has left, with all its rows."""
        super().__init__()
        self.is_initialized = True
        self.dtype, self.device = prefilled.keys.dtype, prefilled.keys.device
        self.is_sliding = isinstance(prefilled, DynamicSlidingWindowLayer)
        self.sliding_window: int | None = prefilled.sliding_window if self.is_sliding else None
        self.rows = len(prefilled.keys)
        self.columns: int = prefilled.get_seq_length()
        """Columns seen, of which a sliding window keeps only the last."""
        self._slots = self.rows
        self._buffers: tuple[Tensor, Tensor] = prefilled.keys, prefilled.values
        self._end = prefilled.keys.shape[-2]
        self._show(self._kept)

    @property
    def _kept(self) -> int:
        """Columns that a token to come may look at."""
        return self.columns if self.sliding_window is None else min(self.columns, self.sliding_window - 1)

    def _show(self, columns: int) -> None:
        """Let ``keys`` and ``values`` be the last so many columns, ``[rows, heads, columns, width]``."""
        seen = slice(self._end - columns, self._end)
        self.keys, self.values = (buffer[: self.rows, :, seen] for buffer in self._buffers)

    def update(self, key_states: Tensor, value_states: Tensor, *_args: Any, **_options: Any) -> tuple[Tensor, Tensor]:
        """Write the keys and values of new tokens beside the old ones; all that they may look at."""
        new, kept = key_states.shape[-2], self._kept
        if self._end + new > self._buffers[0].shape[-2]:
            slots = self._slots if 2 * self.rows > self._slots else self.rows  # the last rows need no more
            self._renew(slots, kept + new + max(kept // _SPARE_SHARE, _SPARE_LEAST))
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[: self.rows, :, self._end : self._end + new] = states
        self._end += new
        self.columns += new
        self._show(kept + new)
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Columns seen."""
        return self.columns

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns that ``query_length`` new tokens may look at, and the first of them."""
        return self._kept + query_length, self.columns - self._kept

    def move(self, sources: Tensor, targets: Tensor, rows: int) -> None:
        """Copy the rows ``sources`` over the rows ``targets``, none of them a source, and keep the first ``rows``."""
        seen = slice(self._end - self._kept, self._end)
        for buffer in self._buffers:
            buffer[targets, :, seen] = buffer[sources, :, seen]
        self.rows = rows
        self._show(self._kept)

    def forget(self, columns: int) -> None:
        """Forget so many columns on the left."""
        self.columns -= columns
        self._show(self._kept)

    def join(self, other: "SlotLayer", slots: int) -> None:
        """Append the rows of ``other``, which has seen no more columns; there is room for ``slots`` rows then."""
        rows, kept, given = self.rows + other.rows, self._kept, other.keys.shape[-2]
        self._slots = max(rows, slots)
        if rows > len(self._buffers[0]):
            self._renew(self._slots, kept + max(kept // _SPARE_SHARE, _SPARE_LEAST))
        for buffer, states in zip(self._buffers, (other.keys, other.values), strict=True):
            buffer[self.rows : rows, :, self._end - kept : self._end - given] = 0  # what is masked must be a number
            buffer[self.rows : rows, :, self._end - given : self._end] = states
        self.rows = rows
        self._show(kept)

    def _renew(self, slots: int, capacity: int) -> None:
        """Lay what is kept at the left of new buffers, one after the other."""
        kept = self._kept
        keys, values = self._buffers
        del self.keys, self.values  # views that would keep the old ones alive
        self._buffers = _copied(keys, self.rows, self._end - kept, self._end, slots, capacity), values
        del keys
        self._buffers = self._buffers[0], _copied(values, self.rows, self._end - kept, self._end, slots, capacity)
        self._end = kept


def _copied(buffer: Tensor, rows: int, start: int, end: int, slots: int, capacity: int) -> Tensor:
    new = buffer.new_empty(slots, buffer.shape[1], capacity, buffer.shape[-1])
    new[:rows, :, : end - start] = buffer[:rows, :, start:end]
    return new
