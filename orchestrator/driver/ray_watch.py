"""A sweep whose Ray is gone: noticed within seconds, told, and ended with its process."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from orchestrator.slots.cluster import answers_at

logger = logging.getLogger(__name__)

KNOCK_SECONDS = 1.0
"""Between two looks whether Ray is there."""
SILENT_LOCAL, SILENT_JOINED = 3.0, 20.0
"""Seconds of silence after which Ray is held to be gone: a local one, whose processes refuse connections only when they
are dead, and one that was joined, whose network may hiccup and whose head may be restarted."""
EXIT_CODE = 1


class RayWatch:
    """Knocks at Ray's own processes, on a thread of its own, and ends this process once they are gone.

    Ray ends a driver that has lost its head after a minute, without a word, and until then the main thread may hang in
    a call of Ray's. So the main thread is not asked: whoever watches is told on this thread, and then the process ends.

    Args:
        addresses: ``host:port`` of each process that must be there; one that does not answer now is not watched.
        patience: seconds of silence after which Ray is gone.
    """

    def __init__(self, addresses: Sequence[str], patience: float) -> None:
        self._addresses = [address for address in addresses if answers_at(address)]
        self._patience = patience
        self._over = threading.Event()
        self._lost: str | None = None

    def lose(self, why: str) -> None:
        """Say that Ray is of no use any more though its processes answer; the process ends soon after."""
        self._lost = self._lost or why

    @contextmanager
    def watched(self, tell: Callable[[str], None]) -> Iterator[None]:
        """Watch over what is done within; an error that comes of a Ray that is gone never leaves it.

        Args:
            tell: called with what was seen, on another thread, just before the process ends. Ray leaves it half a
                minute.
        """
        thread = threading.Thread(target=self._run, args=(tell,), name="ray-watch", daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            while self._silent() or self._lost:  # until the thread has seen it too, and ends the process
                _wait(thread, KNOCK_SECONDS)
            raise
        finally:
            self._over.set()
            _wait(thread)  # returns unless it is just telling the end

    def _run(self, tell: Callable[[str], None]) -> None:
        heard = time.monotonic()
        while not self._over.wait(KNOCK_SECONDS):
            silent = self._silent()
            if silent is None:
                heard = time.monotonic()
            elif time.monotonic() - heard >= self._patience:
                self.lose(f"nothing answers at {silent}")
            if self._lost and not self._over.is_set():
                _end(tell, self._lost)

    def _silent(self) -> str | None:
        """An address where nobody answers; None while all do."""
        return next((address for address in self._addresses if not answers_at(address)), None)


def _end(tell: Callable[[str], None], why: str) -> None:
    try:
        tell(why)
    except Exception:
        logger.exception("the end of the sweep could not be told")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EXIT_CODE)  # an orderly exit would wait for the main thread, which may hang in Ray


def _wait(thread: threading.Thread, seconds: float | None = None) -> None:
    """Join ``thread``, which takes no longer than telling an end does: no signal cuts that short."""
    while True:
        try:
            return thread.join(seconds)
        except KeyboardInterrupt:
            continue
