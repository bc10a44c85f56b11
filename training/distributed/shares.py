"""Work that the ranks share: dealt by cost, done by each on its own, gathered in order."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import distributed

from training.distributed.ranks import FailedAlone, portable, rank, world_size

Result = TypeVar("Result")


class OtherRankFailed(RuntimeError):
    """Raised where work is given up because another rank failed, which raises why."""

    def __init__(self, text: str = "another rank failed, whose own error says why") -> None:
        super().__init__(text)


def share_of(costs: Sequence[int], rank: int, world_size: int) -> list[int]:
    """Indices into ``costs`` that one of the ranks works on, dearest first.

    They are dealt there and back (0, 1, 1, 0, 0, 1, ...), so that counts differ by one at most and costs by little.
    """
    order = sorted(range(len(costs)), key=costs.__getitem__, reverse=True)
    there_and_back = [*range(world_size), *reversed(range(world_size))]
    return [index for place, index in enumerate(order) if there_and_back[place % (2 * world_size)] == rank]


def together(compute: Callable[[], Result]) -> list[Result]:
    """What ``compute`` returns on each rank, on every rank; all ranks must call it.

    Raises:
        Exception: what it raised on the first rank that it failed on; the same on every rank, whose own work is done or
            given up by then.
        FailedAlone: on a rank that fails while the others wait for it.
    """
    if world_size() == 1:
        return [compute()]
    mine: tuple[list[Result], Exception | None] = [], None
    try:
        mine = [compute()], None
    except FailedAlone:
        raise
    except Exception as error:
        mine = [], portable(error)
    everyone: list[tuple[list[Result], Exception | None]] = [([], None)] * world_size()
    distributed.all_gather_object(everyone, mine)
    faults = [fault for _, fault in everyone if fault is not None]
    if faults:
        raise next((fault for fault in faults if not isinstance(fault, OtherRankFailed)), faults[0])
    return [result for found, _ in everyone for result in found]


def shared_out(costs: Sequence[int], compute: Callable[[list[int]], Sequence[Result]]) -> list[Result]:
    """One result for each of ``costs``, found by all ranks together; all must call it with the same costs.

    Args:
        costs: about how long each takes, such as the length of a prompt in tokens.
        compute: given the indices that are this rank's, their results in the same order; there may be none.

    Returns:
        The same on every rank, in the order of ``costs``.

    Raises:
        Exception: see :func:`together`.
    """
    shares = [share_of(costs, one, world_size()) for one in range(world_size())]
    found = together(lambda: compute(shares[rank()]))
    results: dict[int, Result] = {}
    for chosen, values in zip(shares, found, strict=True):
        results |= zip(chosen, values, strict=True)
    return [results[index] for index in range(len(costs))]
