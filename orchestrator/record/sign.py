"""A driver's sign of life in the sweep's folder, for file systems on which a lock is one machine's alone.

The lock of the journal keeps two drivers apart where locks reach as far as the folder does. NFS mounted with ``nolock``
or ``local_lock``, sshfs and parallel file systems without flock grant it on every machine. There the driver is known by
:data:`LOCK`, which it writes anew every few seconds: another machine's driver takes a folder only after it has seen
nothing new in it for a while, and a driver that was thought dead, and finds another's name there, writes nothing more.
"""

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.errors import OutputError
from orchestrator.record.clock import now
from orchestrator.record.folder import LOCK, read_json, write_json
from orchestrator.storage.lease import this_boot

BEAT_SECONDS = 5.0
"""Between two signs of life."""
PATIENCE_SECONDS = 15.0
"""A driver of another machine that gave none for as long as somebody watched is gone."""
FRESH_SECONDS = 60.0
"""A sign that is no older, by the clocks of both machines, is held for life by those who do not wait."""


class Sign:
    """That this process drives the sweep in ``folder``: kept up by a thread of its own until :meth:`release`.

    Args:
        folder: the sweep's.
        on_lost: told in a sentence that another driver has taken the folder, so that this one has to end.
    """

    def __init__(self, folder: Path, on_lost: Callable[[str], None] = lambda _sentence: None) -> None:
        self.fault: str | None = None
        """Why this process must write nothing more; None while it may."""
        self._path, self._on_lost = folder / LOCK, on_lost
        self._told = {
            "session": secrets.token_hex(8),
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "boot": this_boot(),
            "since": now(),
        }
        self._over = threading.Event()
        write_json(self._path, {**self._told, "beat": 0})
        self._thread = threading.Thread(target=self._run, name="sign of life", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Tell that nobody drives the sweep any more."""
        self._over.set()
        self._thread.join(BEAT_SECONDS)
        if self.fault is None:
            self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        beat = 0
        while not self._over.wait(BEAT_SECONDS):
            found = _read(self._path)
            if found is not None and found.get("session", self._told["session"]) != self._told["session"]:
                self.fault = f"{_name(found)} has taken {self._path.parent}, for want of a sign of life of this driver"
                self._on_lost(self.fault)
                return
            beat += 1
            with suppress(OSError):  # a full disk, or a server that is away: the next one may arrive
                write_json(self._path, {**self._told, "beat": beat})


def refuse_living(folder: Path, say: Callable[[str], None] = lambda _sentence: None) -> None:
    """Refuse a folder that a driver on another machine is at work on; takes a while where one has been.

    Args:
        folder: the sweep's, whose journal this process has locked already.
        say: told why it takes long.

    Raises:
        OutputError: it gave a sign of life meanwhile.
    """
    before = _read(folder / LOCK)
    if before is None or _is_here(before):
        return
    say(f"{folder} was last driven by {_name(before)}: waiting {PATIENCE_SECONDS:g} s for a sign of its life")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        time.sleep(0.5)
        if not (folder / LOCK).exists():
            return
        found = _read(folder / LOCK)
        if found is not None and found != before:
            raise OutputError(
                f"{folder} is in use: {_name(found)} drives it; follow it with procon status, or end it with "
                "procon stop, before you start one here"
            )


def is_fresh(folder: Path) -> bool:
    """Whether a driver of another machine gave a sign of life of late."""
    found = _read(folder / LOCK)
    if found is None or _is_here(found):
        return False
    try:
        return abs(time.time() - (folder / LOCK).stat().st_mtime) <= FRESH_SECONDS
    except OSError:
        return False


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return read_json(path)
    except OutputError:
        return None


def _is_here(driver: dict[str, Any]) -> bool:
    """Whether it is, or was, a process of this machine, whose locks it holds as long as it lives."""
    return driver.get("host") == socket.gethostname() and driver.get("boot", this_boot()) == this_boot()


def _name(driver: dict[str, Any]) -> str:
    return f"process {str(driver.get('pid'))[:20]} on {str(driver.get('host'))[:100]}"
