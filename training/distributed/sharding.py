"""Models whose parameters are partitioned over the ranks, as ZeRO 3 partitions them.

Between two forward passes such a parameter has shape (0,); its rank's part is ``ds_tensor``, its whole shape
``ds_shape``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from training.distributed.ranks import FailedAlone, from_rank_zero

Result = TypeVar("Result")


def sharded(model: nn.Module) -> bool:
    """Whether ZeRO 3 has partitioned parameters of ``model``, so that every rank must take part in a forward pass."""
    return any(hasattr(parameter, "ds_id") for parameter in model.parameters())


def whole_shape(parameter: Tensor) -> torch.Size:
    """The shape of ``parameter``, of a partitioned one that of all its parts together."""
    return torch.Size(getattr(parameter, "ds_shape", parameter.shape))


def own_part(parameter: Tensor) -> Tensor:
    """This rank's part of ``parameter``: all of it where it is not partitioned."""
    part: Tensor = getattr(parameter, "ds_tensor", parameter)
    return part


@contextmanager
def gathered(parameter: nn.Parameter) -> Iterator[Tensor]:
    """While active, ``parameter`` whole on every rank, to be read; all ranks must enter where it is partitioned."""
    if not hasattr(parameter, "ds_id"):
        yield parameter.detach()
        return
    from deepspeed.runtime.zero import GatheredParameters

    with GatheredParameters([parameter], modifier_rank=None):
        yield parameter.detach()


def computed_together(model: nn.Module, compute: Callable[[], Result]) -> Result:
    """What ``compute`` returns on rank 0, on every rank; all ranks must call it.

    Of a sharded model every rank computes it, so that all go through the same forward passes; else rank 0 alone does.
    An error of rank 0 is raised on every rank.

    Raises:
        FailedAlone: on a rank that fails while the others wait for it.
    """
    if not sharded(model):
        return from_rank_zero(compute)
    found: Result | None = None
    raised: Exception | None = None
    try:
        found = compute()
    except FailedAlone:
        raise
    except Exception as error:
        raised = error

    def outcome() -> Result:
        if raised is not None:
            raise raised
        return found  # type: ignore[return-value]  # None only where Result allows it

    return from_rank_zero(outcome)
