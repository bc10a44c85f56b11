"""What ends a sweep from outside its search: a stop request from another shell, a budget that is spent."""

import threading
from collections.abc import Callable
from pathlib import Path

from orchestrator.record.folder import STOP_REQUEST

LOOK_SECONDS = 1.0
JOIN_SECONDS = 10.0


class Watch:
    """Looks every second, on a thread of its own, whether the sweep must stop; stops it once.

    Args:
        directory: the sweep's folder, where ``procon stop`` leaves its request.
        spent: tells in a sentence which budget is spent; None while none is.
        every: called at every look, for what else has to happen now and then.
        stop: called once, with the reason.
    """

    def __init__(
        self,
        directory: Path,
        spent: Callable[[], str | None],
        every: Callable[[], None],
        stop: Callable[[str], None],
    ) -> None:
        self._request = directory / STOP_REQUEST
        self._spent = spent
        self._every = every
        self._stop = stop
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join(JOIN_SECONDS)  # it may be waiting for a Ray that is gone

    def _run(self) -> None:
        stopped = False
        while not self._over.wait(LOOK_SECONDS):
            self._every()
            reason = self._reason() if not stopped else None
            if reason is not None:
                stopped = True
                self._stop(reason)

    def _reason(self) -> str | None:
        return "procon stop asked for it" if self._request.exists() else self._spent()
