"""Batches of token ids, ordered by length so that little of a batch is padding."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from training.errors import ModelError

TokenIds = Sequence[Sequence[int]]
Result = TypeVar("Result")

_NO_MEMORY = ("DefaultCPUAllocator: can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What errors say that are not of torch's own class: of the CPU, and of what allocates on a device beside torch."""

log = logging.getLogger(__name__)


@dataclass
class BatchSize:
    """Prompts at once, found by trial: it shrinks where memory runs out, and stays so for whoever shares it."""

    value: int
    """How many."""

    def halve(self, tried: int) -> None:
        """Make the next batch at most half of the ``tried`` prompts that did not fit, and free what they took.

        Raises:
            ModelError: a single prompt did not fit.
        """
        if tried == 1:
            raise ModelError(
                "memory does not suffice for a single prompt: lower evaluation.max_length or "
                "evaluation.max_new_tokens, or give the worker more memory"
            )
        self.value = tried // 2
        log.warning("memory did not suffice for %d prompts at once: going on with %d", tried, self.value)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether ``error`` is an allocation that failed, on an accelerator or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in _NO_MEMORY)


def in_batches(
    lengths: Sequence[int],
    batch_size: int | BatchSize,
    compute: Callable[[list[int]], Result],
    at_most: Callable[[int], int] | None = None,
) -> Iterator[tuple[list[int], Result]]:
    """What ``compute`` returns for one batch after another, longest first; smaller batches where memory runs out.

    Args:
        lengths: of all rows, in tokens.
        batch_size: rows at once; a :class:`BatchSize` keeps what is found to fit.
        compute: given indices into ``lengths``; called again with fewer of them where memory ran out.
        at_most: given the length of the longest row, how many there is room for; see :mod:`training.models.room`.

    Yields:
        the indices of a batch, and what was computed of them.

    Raises:
        ModelError: memory does not suffice for a single row.
    """
    size = batch_size if isinstance(batch_size, BatchSize) else BatchSize(batch_size)
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    while order:
        room = size.value if at_most is None else at_most(lengths[order[0]])
        batch = order[: min(size.value, room)]
        found: list[Result] = []
        try:
            found.append(compute(batch))
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            if not is_out_of_memory(error):
                raise
        if not found:  # outside the handler, whose traceback would keep the failed batch alive
            size.halve(len(batch))
            continue
        yield batch, found.pop()
        order = order[len(batch) :]


def pad(
    token_ids: TokenIds, *, padding_id: int, side: str, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Token ids and their mask as tensors.

    Args:
        token_ids: one list per row.
        padding_id: what fills the rest of a row.
        side: ``left`` or ``right``, where the filling goes.
        device: where the tensors live.

    Returns:
        ids ``[batch, seq]`` and mask ``[batch, seq]``, both int64; the mask is 0 on padding.
    """
    longest = max(len(ids) for ids in token_ids)
    filled = [[padding_id] * (longest - len(ids)) for ids in token_ids]
    left = side == "left"
    ids = [[*gap, *row] if left else [*row, *gap] for row, gap in zip(token_ids, filled, strict=True)]
    gaps = [(len(gap), len(row)) for row, gap in zip(token_ids, filled, strict=True)]
    mask = [[0] * gap + [1] * kept if left else [1] * kept + [0] * gap for gap, kept in gaps]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


@contextmanager
def measuring(model: torch.nn.Module) -> Iterator[None]:
    """While active, ``model`` is in evaluation mode and no gradient is recorded; its modes are restored afterwards.

    ``no_grad`` and not ``inference_mode``: the model is trained further, and an inference tensor that a module
    caches (rotary frequencies, masks) would break its next backward pass.
    """
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True
