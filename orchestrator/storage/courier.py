"""Carries what a driver writes into its local folder to the bucket, a moment later and in an order to rely on.

Files come before the lines of the journal that tell of them, and what was to be removed goes after these. So whoever
reads the bucket at any moment finds a sweep as a driver that was killed might have left it.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from orchestrator.storage.files import Uploads
from orchestrator.storage.parts import Parts
from training.errors import StorageError
from training.storage.bucket import Bucket, Taken

log = logging.getLogger(__name__)

EVERY_SECONDS = 2.0
"""Between two looks at what is new."""
PATIENCE = 30.0
"""Of the thread, for each request: it looks again afterwards."""


class Courier:
    """Works on a thread of its own from :meth:`start` to :meth:`stop`.

    Args:
        bucket: the sweep's.
        journal: the local journal.
        parts: how far it is in the bucket.
        uploads: which files are.
    """

    def __init__(self, bucket: Bucket, journal: Path, parts: Parts, uploads: Uploads) -> None:
        self.fault: str | None = None
        """Why nothing more may be written, in a sentence; None while it may."""
        self.bucket = bucket
        self._journal = journal
        self._parts = parts
        self.uploads = uploads
        self._removals: list[tuple[int, str]] = []
        """What to remove, once so many bytes of the journal are in the bucket."""
        self._tell: Callable[[str | None], None] = lambda _sentence: None
        self._troubled = False
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def start(self, tell: Callable[[str | None], None]) -> None:
        """Begin; ``tell`` is called with a sentence when the store is out, with none when that is over."""
        self._tell = tell
        self._thread.start()

    def remove(self, prefix: str) -> None:
        """Remove what lies below the folder ``prefix``, once the bucket has the journal as it is now."""
        self._removals.append((self._journal.stat().st_size, prefix))

    def carry(self) -> None:
        """Carry all there is now.

        Raises:
            Taken: another driver writes the journal.
            StorageError: the store is out, or refuses.
        """
        with self._lock:
            self._carry()

    def deliver(self, seconds: float) -> bool:
        """Carry all there is, trying for that long; whether it is in the bucket. The thread has ended then."""
        self.stop()
        deadline = time.monotonic() + seconds
        while self.fault is None:
            self._once(max(1.0, min(PATIENCE, deadline - time.monotonic())))
            if not self._troubled:
                return self.fault is None
            if time.monotonic() > deadline:
                return False
            time.sleep(1.0)
        return False

    def stop(self) -> None:
        """Carry nothing more, but for :meth:`deliver`."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(EVERY_SECONDS) and self.fault is None:
            self._once(PATIENCE)

    def _once(self, patience: float) -> None:
        with self._lock:
            self.bucket.patience = patience
            try:
                self._carry()
            except Taken:
                self.fault = f"another driver writes the journal of {self.bucket.address}: this one has to end"
            except Exception as error:  # whatever it is, the sweep goes on without the bucket, and tries again
                if not isinstance(error, StorageError | OSError):
                    log.exception("what was to be carried into %s was not", self.bucket.address)
                if not self._troubled:
                    self._tell(f"{error}; the sweep goes on, and what it records is kept here until the store takes it")
                self._troubled = True
            else:
                if self._troubled:
                    self._tell(None)
                self._troubled = False

    def _carry(self) -> None:
        removals = list(self._removals)
        end = self._journal.stat().st_size  # first: files that these lines tell of are there now
        self.uploads.carry()
        self._parts.carry(self._journal, end)
        for removal in removals:
            written, prefix = removal
            if written <= self._parts.carried:
                self.bucket.remove([entry.key for entry in self.bucket.entries(prefix)])
                self._removals.remove(removal)
