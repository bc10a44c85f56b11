"""Whether somebody drives a sweep, told from its folder alone."""

import json
import os
import socket
from pathlib import Path

from orchestrator.errors import OutputError
from orchestrator.record.flock import lock_of
from orchestrator.record.folder import JOURNAL, LOCK
from orchestrator.record.sign import is_fresh
from orchestrator.storage.lease import living_driver
from training.storage.address import address_of
from training.storage.bucket import Bucket


def is_driven(directory: Path) -> bool:
    """Whether a driver holds the sweep in ``directory`` now: by its journal's lock or another machine's fresh sign.

    Raises:
        OutputError: there is no sweep.
        StorageError: it is in a bucket that cannot be reached.
    """
    address = address_of(directory)
    if address is not None:
        return living_driver(Bucket(address)) is not None
    journal = directory / JOURNAL
    if not journal.is_file():
        raise OutputError(f"{directory} holds no sweep: {JOURNAL} is missing; give the folder that procon run named")
    with journal.open("ab") as file:
        try:
            lock_of(file)
        except BlockingIOError:
            return True
    return is_fresh(directory)


def driver_lives(directory: Path) -> bool:
    """Whether a driver holds the sweep: by its lock file where that names this host, then as :func:`is_driven` tells.

    One in a bucket is asked for its driver's sign of life.

    A process of this host that is gone is told without touching the journal's lock, which a new driver may be taking.
    """
    if address_of(directory) is not None:
        return is_driven(directory)
    try:
        driver = dict(json.loads((directory / LOCK).read_text(encoding="utf-8")))
        gone = driver.get("host") == socket.gethostname() and not _exists(int(driver["pid"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return False
    if gone:
        return False
    try:
        return is_driven(directory)
    except OSError:  # the folder is read-only here, so its lock cannot be asked
        return True


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it belongs to somebody else
        return True
    return True
