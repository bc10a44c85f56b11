"""Who drives a sweep in a bucket: an object that its driver writes anew every few seconds, and gives up in the end.

It is there for people and for politeness. What keeps two drivers from writing one journal are the conditional writes
of :mod:`orchestrator.storage.parts`.
"""

import json
import os
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from orchestrator.errors import OutputError
from training.errors import StorageError
from training.storage.bucket import Bucket, Stored, Taken, Version

DRIVER = "driver.json"
STOP = "stop.request"
BEAT_SECONDS = 5.0
"""Between two signs of life."""
LEASE_SECONDS = 60.0
"""A driver that gave none for that long, by the clocks of the store and of whoever looks, is held to be gone."""
BEAT_PATIENCE = 2.0


class Lease:
    """This process's claim to drive a sweep, kept up by a thread of its own until :meth:`release`.

    Args:
        bucket: the sweep's.
        version: of the object, as this process wrote it.
        session: names this driver.
    """

    def __init__(self, bucket: Bucket, version: Version, session: str) -> None:
        self.fault: str | None = None
        """Why this process must write nothing more, in a sentence; None while it may."""
        self._bucket = Bucket(bucket.address, BEAT_PATIENCE)
        self._version = version
        self._session = session
        self._beat = 0
        self._over = threading.Event()
        self._on_stop: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    @classmethod
    def take(cls, bucket: Bucket) -> Self:
        """Become the driver.

        Raises:
            OutputError: another one lives.
            StorageError: the store cannot be used.
        """
        session = secrets.token_hex(8)
        found = bucket.read(DRIVER)
        if found is not None and (holder := _holder(found)) is not None:
            raise OutputError(_in_use(bucket.address, holder, found))
        try:
            content = _content(session, 0)
            version = (
                bucket.create(DRIVER, content) if found is None else bucket.exchange(DRIVER, content, found.version)
            )
        except Taken as error:
            raise OutputError(f"{bucket.address} is in use: another driver took it at this moment") from error
        return cls(bucket, version, session)

    def when_asked_to_stop(self, call: Callable[[], None]) -> None:
        """From now on, ``call`` when ``procon stop`` asks for it."""
        self._on_stop = call

    def release(self) -> None:
        """Tell that nobody drives the sweep any more."""
        self._over.set()
        self._thread.join(2 * BEAT_PATIENCE)
        if self.fault is None:
            with suppress(StorageError, Taken):  # it then ends by itself
                self._put(_content(self._session, self._beat + 1, ended=True))

    def _put(self, content: bytes) -> None:
        """Write a sign of life.

        Raises:
            Taken: another driver has written one. Ours that arrived though its answer did not is none of another.
        """
        try:
            self._version = self._bucket.exchange(DRIVER, content, self._version)
        except Taken:
            found = self._bucket.read(DRIVER)
            if found is None or _session(found) != self._session:
                raise
            self._version = self._bucket.exchange(DRIVER, content, found.version)

    def _run(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            try:
                self._beat += 1
                self._put(_content(self._session, self._beat))
                if self._bucket.read(STOP) is not None:
                    self._on_stop()
            except Taken:
                self.fault = f"another driver has taken {self._bucket.address} over, for want of a sign of life"
                return
            except StorageError:  # whoever carries the journal tells of it
                continue


def living_driver(bucket: Bucket) -> str | None:
    """Who drives the sweep now, for people; None where nobody does."""
    found = bucket.read(DRIVER)
    return None if found is None else _holder(found)


def ask_to_stop(bucket: Bucket) -> None:
    """Have the driver end cleanly; it looks every :data:`BEAT_SECONDS`."""
    bucket.write(STOP, b"procon stop\n")


def _content(session: str, beat: int, *, ended: bool = False) -> bytes:
    told = {
        "session": session,
        "host": socket.gethostname(),
        "boot": this_boot(),
        "pid": os.getpid(),
        "beat": beat,
        "ended": ended,
    }
    return json.dumps(told).encode()


def _holder(found: Stored) -> str | None:
    """Who holds the lease ``found``; None where it is given up, was not renewed, or its process here is gone."""
    try:
        told = found.json()
        if told["ended"] or _age(found) > LEASE_SECONDS or _gone_from_here(told):
            return None
        return f"process {int(told['pid'])} on {str(told['host'])[:100]}"
    except (ValueError, KeyError, TypeError):
        return "somebody whose sign cannot be read" if _age(found) <= LEASE_SECONDS else None


def _session(found: Stored) -> str | None:
    with suppress(ValueError):
        return str(found.json().get("session"))
    return None


def _in_use(address: str, holder: str, found: Stored) -> str:
    left = max(1.0, LEASE_SECONDS - _age(found))
    return (
        f"{address} is in use: {holder} drives it, and gave its last sign of life {max(0.0, _age(found)):.0f} s ago; "
        f"follow it with procon status, or end it with procon stop; if it has died, try again in {left:.0f} s"
    )


def _age(found: Stored) -> float:
    return (datetime.now(UTC) - found.modified).total_seconds()


def _gone_from_here(told: dict[str, Any]) -> bool:
    """Whether the driver ran on this machine, since it was started, and its process is no more."""
    if told["host"] != socket.gethostname() or told["boot"] != this_boot() or not this_boot():
        return False
    try:
        os.kill(int(told["pid"]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def this_boot() -> str:
    """Changes with every start of this machine; empty where that cannot be told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
