"""A job whose machine runs short of memory, or of room on the disk, goes on as soon as and as well as it can."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.record.disk import is_full, wait_for_room
from orchestrator.slots.errors import RestartNeededError
from orchestrator.slots.line import Line

if TYPE_CHECKING:
    from training.workbench import Measurement


def within_memory(
    run: Callable[[int | None], "Measurement"], at_most: int | None, line: Line
) -> tuple["Measurement", int | None]:
    """What ``run`` measures; where memory runs out in training, it goes on from its checkpoint in smaller passes.

    Args:
        run: trains with so many samples per forward pass and rank at most, and measures.
        at_most: what memory is known to suffice for; None where it has not run out yet.
        line: told of each size at which it does.

    Returns:
        The measurement, and the largest micro-batch in the end; None where memory never ran out.

    Raises:
        MemoryRanOut: it did with a single sample.
        RestartNeededError: there are other ranks, which may be waiting in a collective, or the model is in shards.
    """
    import torch

    from training.distributed.ranks import world_size
    from training.loop.train import MemoryRanOut

    while True:
        try:
            return run(at_most), at_most
        except MemoryRanOut as short:
            if short.smaller is None:
                raise
            at_most, reason, sharded = short.smaller, str(short), short.sharded
        line.lower(at_most, reason)
        if world_size() > 1 or sharded:
            raise RestartNeededError(reason)
        gc.collect()  # an engine refers to itself
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def with_room(run: Callable[[], "Measurement"], folder: Path, note: Callable[[str], None]) -> "Measurement":
    """What ``run`` measures; where it failed on a full disk, it goes on from its checkpoint once there is room."""
    from training.distributed.progress import advance
    from training.distributed.ranks import world_size
    from training.errors import TrainingError
    from training.loop.train import TrialMoved, TrialStopped

    while True:
        try:
            return run()
        except (TrainingError, TrialMoved, TrialStopped):
            raise
        except Exception as error:
            if not is_full(folder):
                raise
            note(f"the disk of {folder} is full: the trials wait until there is room again")
            wait_for_room(folder, advance)
            if world_size() > 1:  # the other ranks may be waiting in a collective
                raise RestartNeededError from error
