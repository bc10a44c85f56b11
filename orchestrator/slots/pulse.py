"""A worker's signs of life: sent from beside its work, with what tells whether the work gets on."""

import logging
import os
import threading
import time
from types import TracebackType
from typing import Any, Self

from orchestrator.slots.announced import notice

log = logging.getLogger(__name__)

LONGEST_SECONDS = 5.0
"""Between two signs of life; a tenth of how long a worker may be silent, where that is less."""
ANSWER_SECONDS = 30.0
"""How long an answer may take before another sign is given; a broker that Ray starts again needs a few."""
ORPHANED_SECONDS = 900.0
"""A worker whose broker has not answered for so long ends: its sweep is over, or its machine was cut off for good. Ray
cannot end it where its own head has died, and its memory would be missing to whoever comes next."""
READ_BYTES = 2**20
"""So much read or written between two of them is work, such as loading weights; the signs themselves are less."""


class Pulse:
    """While it is entered, a thread tells the broker every few seconds that this worker is there, and how far it is.

    Args:
        broker: handle of the broker actor.
        slot: that this process is a worker of.
        group: which of the slot's groups of workers it is in.
        rank: of this process.
        workers: in the group.
        silence: seconds after which a worker that says nothing is held to be lost.
    """

    def __init__(self, broker: Any, slot: int, group: str, rank: int, workers: int, silence: float) -> None:
        self._broker = broker
        self._who = (slot, group, rank)
        self._workers = workers
        self._every = min(LONGEST_SECONDS, silence / 10)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        self._bytes = self._spurts = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()  # the thread may be waiting for the broker

    def _run(self) -> None:
        import ray

        myself = ray.get_runtime_context().current_actor
        answered = time.monotonic()
        while not self._over.is_set():
            try:
                known = ray.get(self._broker.beat.remote(*self._who, self._work()), timeout=ANSWER_SECONDS)
                if not known:
                    here = self._broker.here.remote(*self._who, self._workers, [myself])
                    ray.get(here, timeout=ANSWER_SECONDS)
                if (told := notice()) is not None:
                    slot, group, _ = self._who
                    ray.get(self._broker.slot_leaves.remote(slot, group, told.sentence()), timeout=ANSWER_SECONDS)
                answered = time.monotonic()
            except Exception as error:  # Ray has no one exception for what is gone, or out of reach
                if time.monotonic() - answered > ORPHANED_SECONDS:
                    log.error("nobody has wanted this worker for %d s (%s): it ends", ORPHANED_SECONDS, error)
                    os._exit(1)  # the thread that works may wait for ever
            self._over.wait(self._every)

    def _work(self) -> int:
        """A number that grows as this process does its work."""
        from training.distributed.progress import done

        moved = bytes_moved()
        if moved >= self._bytes + READ_BYTES:
            self._spurts += 1
        self._bytes = moved
        return done() + self._spurts


def bytes_moved() -> int:
    """What this process has read and written; 0 where the system does not tell."""
    try:
        with open("/proc/self/io", encoding="ascii") as file:
            counts = {name: int(value) for name, _, value in (line.partition(":") for line in file)}
    except (OSError, ValueError):
        return 0
    return sum(counts.get(name, 0) for name in ("rchar", "wchar", "read_bytes"))
