"""Signs of life of the slots' workers, and signs that they get on with their work."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

FACTOR = 4.0
"""How many times the longest that any slot of the sweep got on without progress a slot may be without."""
UNKNOWN = ""
"""The group of a slot that a restarted broker has not heard of yet."""
HICCUP_SECONDS = 5.0
"""Between two looks; more means that the broker itself stood still, and heard nobody."""


@dataclass
class _Rank:
    """One worker of a slot."""

    heard: float
    """When, by the clock."""
    longest: float = 0.0
    """The longest it was silent, in seconds."""
    work: int = -1
    """What it last said of its work."""


@dataclass
class _Slot:
    """The workers that a slot has at the moment."""

    group: str
    """Which of the groups of workers that the slot has had: each restart makes another."""
    ranks: dict[int, _Rank] = field(default_factory=dict)
    working: bool = False
    progress: float = 0.0
    """When any of its workers last got on with the job, or was given it."""


class Signs:
    """Tells which slots are lost: a worker is silent, or all of them stand still.

    Args:
        silence: seconds that a worker may be silent, beyond the longest that it has been.
        stall: seconds that all workers of a slot may stand still over a job, at least; :data:`FACTOR` times the longest
            that any slot did, where that is more.
        clock: seconds that never go back.
    """

    def __init__(self, silence: float, stall: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._silence = silence
        self._stall = stall
        self._clock = clock
        self._slots: dict[int, _Slot] = {}
        self._longest = 0.0
        """The longest that any slot got on without progress, in seconds."""
        self._looked: float | None = None

    def up(self, slot: int, group: str, workers: int) -> None:
        """A slot has a new group of so many workers, each of which will be heard of."""
        now = self._clock()
        self._slots[slot] = _Slot(group, {rank: _Rank(now) for rank in range(workers)}, progress=now)

    def knows(self, slot: int, group: str) -> bool:
        """Whether ``group`` is the slot's present one."""
        return slot in self._slots and self._slots[slot].group == group

    def is_of_another(self, slot: int, group: str) -> bool:
        """Whether the slot is known to have another group, so that a worker of ``group`` has been replaced."""
        return slot in self._slots and self._slots[slot].group not in (group, UNKNOWN)

    def gone(self, slot: int) -> None:
        """A slot has no workers."""
        self._slots.pop(slot, None)

    def heard(self, slot: int) -> None:
        """The first worker of a slot has said or asked something."""
        there = self._slots.get(slot)
        if there is not None and 0 in there.ranks:
            there.ranks[0].heard = self._clock()

    def begins(self, slot: int) -> None:
        """A slot was given a job."""
        if slot in self._slots:
            self._slots[slot].working, self._slots[slot].progress = True, self._clock()

    def ends(self, slot: int) -> None:
        """A slot has no job any more."""
        if slot in self._slots:
            self._slots[slot].working = False

    def beat(self, slot: int, group: str, rank: int, work: int) -> None:
        """A sign of life of a worker of a present group, and a number that changes as work is done."""
        there, now = self._slots[slot], self._clock()
        one = there.ranks[rank]
        one.longest = max(one.longest, now - one.heard)
        one.heard = now
        if work != one.work:
            one.work = work
            if there.working:
                self._longest = max(self._longest, now - there.progress)
            there.progress = now

    def overdue(self) -> dict[int, str]:
        """Why each lost slot is lost, by slot; to be asked every second or so, and each is told once."""
        now = self._clock()
        paused = 0.0 if self._looked is None else now - self._looked
        self._looked = now
        if paused > HICCUP_SECONDS:
            self._forgive(paused)
            return {}
        found = {slot: reason for slot, there in self._slots.items() if (reason := self._reason(there, now))}
        for slot in found:
            del self._slots[slot]
        return found

    def _reason(self, slot: _Slot, now: float) -> str | None:
        for rank, one in sorted(slot.ranks.items()):
            silent = now - one.heard
            if silent > self._silence + one.longest:
                who = f"its worker {rank}" if len(slot.ranks) > 1 else "its worker"
                return f"no sign of life of {who} for {silent:.0f} s"
        still = now - slot.progress
        if slot.working and slot.ranks and still > max(self._stall, FACTOR * self._longest):
            return f"its workers have not got on for {still:.0f} s"
        return None

    def _forgive(self, seconds: float) -> None:
        for slot in self._slots.values():
            slot.progress += seconds
            for one in slot.ranks.values():
                one.heard += seconds
