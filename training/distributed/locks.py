"""Waiting for a lock that another slot may hold for as long as it computes."""

from filelock import BaseFileLock, Timeout

from training.distributed.progress import advance

LOOK_SECONDS = 60.0


def acquire(lock: BaseFileLock) -> None:
    """Take ``lock``, however long that takes; waiting for it is no standstill."""
    while True:
        try:
            lock.acquire(timeout=LOOK_SECONDS)
        except Timeout:
            advance()
        else:
            return
