"""The ranks of a training: which one this is, and what they tell one another."""

import pickle
from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import Tensor, distributed

from training.distributed.progress import advance

Result = TypeVar("Result")


class FailedAlone(Exception):
    """Raised on a rank that failed inside a forward pass in which the others wait for it.

    Nothing can be told to them any more: only a new group of processes is sound again. Functions by which ranks tell
    one another their errors let it pass.
    """


def rank() -> int:
    """This process's rank; 0 outside a process group."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """Number of ranks; 1 outside a process group."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def barrier() -> None:
    """Wait for all ranks."""
    if world_size() > 1:
        distributed.barrier()
        advance()


def sum_over_ranks(values: Tensor) -> Tensor:
    """``values`` summed over all ranks, in place."""
    if world_size() > 1:
        distributed.all_reduce(values)
        advance()
    return values


def decision_of_rank_zero(decision: bool, device: torch.device) -> bool:
    """What rank 0 decided, on every rank."""
    if world_size() == 1:
        return decision
    flag = torch.tensor([int(decision)], device=device)
    distributed.broadcast(flag, src=0)
    return bool(flag.item())


def is_of_another_rank(error: BaseException) -> bool:
    """Whether ``error`` only says that another rank is gone: that a connection to it broke, in or before a collective.

    gloo has no class of its own for that. An error of what cleans up after it, such as ZeRO 3 which finds parameters
    half gathered, says no more.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, distributed.DistError) or (isinstance(seen, RuntimeError) and "/gloo/" in str(seen)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def portable(error: Exception) -> Exception:
    """``error`` as other ranks can read it: itself, or its text where its class cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def from_all_ranks(value: Result) -> list[Result]:
    """The ``value`` of every rank, in their order, on every rank; all ranks must call it."""
    if world_size() == 1:
        return [value]
    found: list[Result | None] = [None] * world_size()
    distributed.all_gather_object(found, value)
    return cast(list[Result], found)


def from_rank_zero(compute: Callable[[], Result]) -> Result:
    """What ``compute`` returns on rank 0, on every rank; the others wait, and meet the same error if it raises one."""
    if world_size() == 1:
        return compute()
    outcome: list[tuple[Result | None, Exception | None]] = [(None, None)]
    if rank() == 0:
        try:
            outcome = [(compute(), None)]
        except FailedAlone:
            raise
        except Exception as error:
            outcome = [(None, portable(error))]
    distributed.broadcast_object_list(outcome, src=0)
    result, raised = outcome[0]
    if raised is not None:
        raise raised
    return cast(Result, result)
