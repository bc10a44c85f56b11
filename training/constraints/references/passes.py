"""Running the initial model over all samples once, shared among the ranks."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import distributed

from training.data.samples import Integers
from training.distributed import ranks
from training.models.batching import in_batches

Result = TypeVar("Result")
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


def in_passes(
    lengths: Integers,
    compute: Callable[[Integers], Result],
    tokens_per_pass: int = _TOKENS_PER_PASS,
    *,
    lockstep: bool = False,
) -> Iterator[tuple[Integers, Result]]:
    """What ``compute`` makes of every ``world_size``-th of :func:`passes`, so that all ranks do similar work.

    Args:
        lengths: of the samples, in tokens.
        compute: given samples of one pass; called again with fewer of them where memory ran out, unless in lockstep.
        tokens_per_pass: padded tokens of a pass at most.
        lockstep: whether every rank makes the same number of passes, as a sharded model needs: where they do not
            divide, some do the last pass too.

    Yields:
        the samples of a pass, and what was computed of them.

    Raises:
        ModelError: memory does not suffice for a single sample.
    """
    groups = passes(lengths, tokens_per_pass)
    if lockstep:
        groups += [groups[-1]] * (-len(groups) % ranks.world_size())
    own = groups[ranks.rank() :: ranks.world_size()]
    if lockstep:
        yield from ((group, compute(group)) for group in own)
    elif own:
        mine = np.concatenate(own)
        sizes = lengths[mine].tolist()
        for batch, found in in_batches(
            sizes, len(mine), lambda rows: compute(mine[rows]), lambda longest: max(1, tokens_per_pass // longest)
        ):
            yield mine[batch], found


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
