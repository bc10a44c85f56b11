"""Running the initial model over all samples once, shared among the ranks."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import distributed

from training.data.samples import Integers
from training.distributed import ranks

Values = TypeVar("Values", bound=NDArray[Any])

_TOKENS_PER_PASS = 8192
"""Padded tokens per forward pass."""


def passes(lengths: Integers, tokens_per_pass: int = _TOKENS_PER_PASS) -> list[Integers]:
    """Samples in groups of similar length, longest first, each at most ``tokens_per_pass`` padded tokens."""
    order = np.argsort(lengths, kind="stable")[::-1]
    groups: list[Integers] = []
    start = 0
    while start < len(order):
        size = max(1, tokens_per_pass // int(lengths[order[start]]))
        groups.append(order[start : start + size])
        start += size
    return groups


def passes_of_this_rank(
    lengths: Integers, tokens_per_pass: int = _TOKENS_PER_PASS, *, lockstep: bool = False
) -> list[Integers]:
    """Every ``world_size``-th of :func:`passes`, so that all ranks do similar work.

    Args:
        lengths: of the samples, in tokens.
        tokens_per_pass: padded tokens of a pass at most.
        lockstep: whether every rank gets the same number of them, as a sharded model needs: where they do not divide,
            some do the last pass too.
    """
    groups = passes(lengths, tokens_per_pass)
    if lockstep:
        groups += [groups[-1]] * (-len(groups) % ranks.world_size())
    return groups[ranks.rank() :: ranks.world_size()]


def gathered_on_rank_zero(parts: list[tuple[Integers, Values]], whole: Values) -> Values:
    """``whole`` with the rows of all ranks filled in on rank 0, and of its own ranks elsewhere; all ranks must call it.

    Args:
        parts: rows and their values, found by this rank.
        whole: ``[rows, width]`` to fill.
    """
    collected = [parts]
    if ranks.world_size() > 1:
        everyone: list[Any] | None = [None] * ranks.world_size() if ranks.rank() == 0 else None
        distributed.gather_object(parts, everyone)
        collected = everyone or collected
    for one in collected:
        for rows, values in one:
            whole[rows] = values
    return whole
