"""Forward passes of a model in shards, which every rank must make together, however little it has to do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, nn

from training.distributed.ranks import world_size
from training.distributed.sharding import sharded
from training.distributed.shares import OtherRankFailed

Forward = Callable[..., Any]
"""A module's forward pass, called with keywords."""

_DONE, _BUSY, _FAILED = 0, 1, 2
_PATIENCE = timedelta(minutes=10)
"""How long a rank waits for the others between two forward passes. Much longer than any takes: it ends the wait for a
rank that failed in the middle of one, where the others wait for its share of the parameters."""

_channel: tuple[Any, Any] | None = None
"""The default process group, and the one beside it by which ranks agree on their next pass."""


@contextmanager
def in_step(module: nn.Module, device: torch.device) -> Iterator[Forward]:
    """The forward pass of ``module`` for as long as the block lasts, in step with the other ranks where it is sharded.

    ZeRO 3 gathers every layer's parameters from all ranks while a forward pass goes on, so that all must make the same
    number of them. With a sharded module every rank must enter the block, and may then call the forward pass as often
    as its own work needs; a rank that is done goes on with a single dummy token until all are, like ``synced_gpus`` of
    transformers. A module that is whole is called as it is, and ranks need not know of one another.

    Where a rank fails, the others give up before their next pass. A rank that fails in the middle of one, for lack of
    memory say, can go on only where all others failed too or got through: it waits ten minutes for them.

    Args:
        module: a causal language model or its decoder; all ranks give the same.
        device: where its inputs live.

    Raises:
        OtherRankFailed: on the ranks that give up.
    """
    if world_size() == 1 or not sharded(module):
        yield module
        return
    gave_up = False

    def forward(**inputs: Any) -> Any:
        nonlocal gave_up
        if _agreed(_BUSY) == _FAILED:
            gave_up = True
            raise OtherRankFailed
        return module(**inputs)

    try:
        yield forward
    except Exception:
        if not gave_up:
            _agreed(_FAILED)
        raise
    with torch.no_grad():
        while state := _agreed(_DONE):
            if state == _FAILED:
                raise OtherRankFailed
            module(input_ids=torch.zeros(1, 1, dtype=torch.long, device=device), use_cache=False)


def _agreed(state: int) -> int:
    """The largest state of any rank.

    Raises:
        RuntimeError: a rank is in the middle of a forward pass that this one is not in.
    """
    flag = torch.tensor([state])
    distributed.all_reduce(flag, op=distributed.ReduceOp.MAX, group=_group())
    return int(flag)


def _group() -> Any:
    """A group on the CPU, so that agreeing neither waits for the accelerator nor mixes with the parameters' way."""
    global _channel
    default = distributed.distributed_c10d._get_default_group()
    if _channel is None or _channel[0] is not default:
        _channel = default, distributed.new_group(backend="gloo", timeout=_PATIENCE)
    return _channel[1]
