"""Greedy decoding with continuous batching: when rows of a batch have finished, waiting prompts take their places."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from training.distributed.lockstep import Forward
from training.models.batching import BatchSize, TokenIds, is_out_of_memory, pad
from training.models.row_cache import RowCache

_FINISHED_SHARE = 0.125
"""Finished rows make room once they are this share of a batch: that costs about one more step, and one to fill it."""


@dataclass(frozen=True)
class Decoder:
    """A model that answers, and when its answers end."""

    base: PreTrainedModel
    """A causal language model."""
    forward: Forward
    """What it is called by; see :func:`training.distributed.lockstep.in_step`."""
    end_ids: frozenset[int]
    """Tokens that end an answer."""
    max_new_tokens: int
    """Longest answer."""

    def ended(self, answer: Sequence[int]) -> bool:
        """Whether nothing follows ``answer``."""
        return len(answer) >= self.max_new_tokens or (bool(answer) and answer[-1] in self.end_ids)

    def answers(self, prompts: TokenIds, size: BatchSize, room: Callable[[int], int]) -> list[list[int]]:
        """Answers in the order of ``prompts``, the ending token included where one was reached.

        The longest prompts come first. Where memory runs out, rows are halved, and those that were under way begin
        again.

        Args:
            prompts: token ids, none empty.
            size: rows at once, at most; it keeps what is found to fit.
            room: given the length of the longest prompt, how many rows there is room for.

        Raises:
            ModelError: memory runs out over a single prompt.
        """
        order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]), reverse=True)
        found: list[list[int]] = [[] for _ in prompts]
        while order:
            batch = _Batch(self, prompts, found, order, size, room)
            try:
                batch.run()
            except RuntimeError as error:  # torch.OutOfMemoryError is one
                if not is_out_of_memory(error):
                    raise
            order = [number for number in order if not self.ended(found[number])]
            tried = batch.tried
            del batch  # and what it takes, outside the handler, whose traceback would keep it alive
            if order:
                size.halve(tried)
                for number in order:
                    found[number] = []
        return found


class _Rows:
    """Rows that are decoded together. Each has a token that the model has not read yet."""

    def __init__(self, decoder: Decoder, prompts: TokenIds, numbers: list[int]) -> None:
        """One forward pass over the prompts of ``numbers``."""
        self._decoder = decoder
        self.numbers = numbers
        self.finished: set[int] = set()
        """Rows whose answers have ended, and which have not left."""
        base = decoder.base
        chosen = [prompts[number] for number in numbers]
        ids, mask = pad(chosen, padding_id=0, side="left", device=base.device)
        self._columns = ids.shape[1]
        self._starts = self._columns - mask.sum(dim=1, keepdim=True)
        """``[rows, 1]``: the column of each row's first token."""
        output = prefill(base, ids, mask, decoder.forward)
        self._cache = RowCache(output.past_key_values, base.device)
        self.tokens = output.logits[:, -1].argmax(dim=-1)
        """``[rows]``: the next token of each."""

    @property
    def joins(self) -> bool:
        """Whether others can join."""
        return self._cache.joins

    def step(self) -> None:
        """One forward pass over the tokens that are not read yet."""
        decoder = self._decoder
        positions = self._columns - self._starts
        self._columns += 1
        places = torch.arange(self._columns, device=positions.device)
        output = decoder.forward(
            input_ids=self.tokens[:, None],
            attention_mask=(places >= self._starts).long(),
            past_key_values=self._cache.cache,
            **_options(decoder.base, positions),
        )
        self._cache.cache = output.past_key_values
        self.tokens = output.logits[:, -1].argmax(dim=-1)

    def keep(self, kept: list[int]) -> None:
        """Drop all rows but ``kept``, ascending, and the columns that were theirs alone; where the cache can."""
        order = self._cache.keep(kept)
        if order is None:
            return
        index = torch.tensor(order, device=self.tokens.device)
        self.tokens, self._starts = self.tokens[index], self._starts[index]
        self.numbers = [self.numbers[row] for row in order]
        self.finished.clear()
        unused = int(self._starts.min())
        if unused and self._cache.forget(unused):
            self._starts, self._columns = self._starts - unused, self._columns - unused

    def join(self, other: "_Rows", slots: int) -> None:
        """Append the rows of ``other``, none of which is longer than the longest here."""
        self._cache.join(other._cache, slots)
        self._starts = torch.cat([self._starts, other._starts + self._columns - other._columns])
        self.tokens = torch.cat([self.tokens, other.tokens])
        self.finished |= {len(self.numbers) + row for row in other.finished}
        self.numbers += other.numbers


class _Batch:
    """Decoding until no prompt waits, or memory runs out."""

    def __init__(
        self,
        decoder: Decoder,
        prompts: TokenIds,
        found: list[list[int]],
        order: list[int],
        size: BatchSize,
        room: Callable[[int], int],
    ) -> None:
        self._decoder, self._prompts, self._found, self._size, self._room = decoder, prompts, found, size, room
        self._waiting = list(reversed(order))
        self._rows: _Rows | None = None
        self.tried = 0
        """Rows that were there, or were to be, when memory ran out."""

    def run(self) -> None:
        """Fill every prompt's place in ``found``."""
        while self._rows is not None or self._waiting:
            if self._rows is not None:
                self.tried = len(self._rows.numbers)
                self._rows.step()
                self._rows = self._settled(self._rows)
            if self._waiting and (self._rows is None or self._rows.joins):
                self._fill()

    def _settled(self, rows: _Rows) -> _Rows | None:
        """``rows`` with their tokens written down, without those that have finished; None where all have."""
        longest = False
        for row, (number, token) in enumerate(zip(rows.numbers, rows.tokens.tolist(), strict=True)):
            if row in rows.finished:
                continue
            answer = self._found[number]
            answer.append(token)
            if self._decoder.ended(answer):
                rows.finished.add(row)
                longest |= len(answer) == self._decoder.max_new_tokens
        count = len(rows.numbers)
        if len(rows.finished) == count:
            return None
        # A row of the largest length leaves at once: it may be at the last position that the model has.
        if longest or len(rows.finished) >= max(1, _FINISHED_SHARE * count):
            rows.keep([row for row in range(count) if row not in rows.finished])
        return rows

    def _fill(self) -> None:
        """Let waiting prompts take the places that are free, where these are worth a forward pass."""
        there = [] if self._rows is None else self._rows.numbers
        longest = max(len(self._prompts[number]) for number in (*there, self._waiting[-1]))
        slots = max(1, min(self._size.value, self._room(longest)))
        count = min(slots - len(there), len(self._waiting))
        if there and count < min(_FINISHED_SHARE * slots, len(self._waiting)):
            return
        numbers = [self._waiting.pop() for _ in range(count)]
        self.tried = len(there) + count
        fresh = self._settled(_Rows(self._decoder, self._prompts, numbers))
        if fresh is None:
            return
        if self._rows is None:
            self._rows = fresh
        else:
            self._rows.join(fresh, min(slots, self.tried + len(self._waiting)))


def prefill(base: PreTrainedModel, ids: Tensor, mask: Tensor, forward: Forward | None = None) -> Any:
    """The forward pass over whole prompts that a batch begins with.

    Args:
        base: a causal language model.
        ids: ``[rows, seq]``, padded on the left.
        mask: ``[rows, seq]``, 0 on padding.
        forward: what ``base`` is called by; see :func:`training.distributed.lockstep.in_step`.

    Returns:
        The model's output; ``logits[:, -1]`` are of the next token.
    """
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    return (forward or base)(input_ids=ids, attention_mask=mask, **_options(base, positions))


@cache
def _parameters(kind: type[PreTrainedModel]) -> frozenset[str]:
    """Names of what the forward pass of such a model is called with."""
    return frozenset(inspect.signature(kind.forward).parameters)


def _options(base: PreTrainedModel, positions: Tensor) -> dict[str, Any]:
    accepted = _parameters(type(base))  # type: ignore[arg-type]  # a class that mypy takes for unhashable
    options: dict[str, Any] = {"use_cache": True}
    if "logits_to_keep" in accepted:  # the head's product with every prompt token would be thrown away
        options["logits_to_keep"] = 1
    if "position_ids" in accepted:  # absent where positions follow from the mask alone
        options["position_ids"] = positions
    return options
