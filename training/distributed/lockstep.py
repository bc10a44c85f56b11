"""Forward passes of a model in shards, which every rank must make together, however little it has to do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, nn

from training.distributed.ranks import FailedAlone, rank, world_size
from training.distributed.sharding import sharded
from training.distributed.shares import OtherRankFailed

Forward = Callable[..., Any]
"""A module's forward pass, called with keywords."""

_DONE, _BUSY, _FAILED = 0, 1, 2
_PATIENCE = timedelta(minutes=10)
"""How long a rank waits for the others between two forward passes. Much longer than any takes."""
_GRACE = timedelta(seconds=20)
"""How long a rank that failed inside a forward pass waits for the others to fail in it too, or to get through. They do
so within a layer's time: each layer needs the parts of all."""

_channel: tuple[Any, Any] | None = None
"""The default process group, and the one beside it by which ranks agree on their next pass."""


@contextmanager
def in_step(module: nn.Module, device: torch.device) -> Iterator[Forward]:
    """The forward pass of ``module`` for as long as the block lasts, in step with the other ranks where it is sharded.

    ZeRO 3 gathers every layer's parameters from all ranks while a forward pass goes on, so that all must make the same
    number of them. With a sharded module every rank must enter the block, and may then call the forward pass as often
    as its own work needs; a rank that is done goes on with a single dummy token until all are, like ``synced_gpus`` of
    transformers. A module that is whole is called as it is, and ranks need not know of one another.

    Where a rank fails, the others give up before their next pass. One that fails in the middle of a pass, for lack of
    memory say, goes on as they do where all others fail in it too or get through. Else they wait for its parts of the
    parameters, and whoever runs the ranks has to end them all, which it does as soon as this one ends.

    Args:
        module: a causal language model or its decoder; all ranks give the same.
        device: where its inputs live.

    Raises:
        OtherRankFailed: on the ranks that give up.
        FailedAlone: on a rank that failed inside a pass which the others are still in.
    """
    if world_size() == 1 or not sharded(module):
        yield module
        return
    gave_up, failure = False, ""

    def agreed(state: int) -> int:
        nonlocal gave_up, failure
        found = _agreed(state, failure)
        failure = ""
        gave_up = found == _FAILED
        if gave_up:
            raise OtherRankFailed
        return found

    def through(**inputs: Any) -> Any:
        nonlocal failure
        try:
            return module(**inputs)
        except Exception as error:  # kept as text: its traceback would keep the batch alive, which may be retried
            failure = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
            raise

    def forward(**inputs: Any) -> Any:
        agreed(_BUSY)
        return through(**inputs)

    try:
        yield forward
        with torch.no_grad():
            while agreed(_DONE):
                through(input_ids=torch.zeros(1, 1, dtype=torch.long, device=device), use_cache=False)
    except FailedAlone:
        raise
    except Exception:
        if not gave_up:
            _agreed(_FAILED, failure)
        raise


def _agreed(state: int, failure: str) -> int:
    """The largest state of any rank.

    Args:
        state: of this rank.
        failure: of its last forward pass, in whose middle the others may still be; empty where it went through.

    Raises:
        FailedAlone: they are.
    """
    flag = torch.tensor([state])
    work = distributed.all_reduce(flag, op=distributed.ReduceOp.MAX, group=_group(), async_op=True)
    try:
        work.wait(_GRACE if failure else _PATIENCE)
    except RuntimeError:
        if not failure:
            raise
        raise FailedAlone(
            f"rank {rank()} failed in a forward pass in which the trial's other workers wait for its part of the model "
            f"({failure}): if it has less memory to itself than they have, lower evaluation.batch_size or "
            "evaluation.max_length"
        ) from None
    return int(flag)


def _group() -> Any:
    """A group on the CPU, so that agreeing neither waits for the accelerator nor mixes with the parameters' way."""
    global _channel
    default = distributed.distributed_c10d._get_default_group()
    if _channel is None or _channel[0] is not default:
        _channel = default, distributed.new_group(backend="gloo", timeout=_PATIENCE)
    return _channel[1]
