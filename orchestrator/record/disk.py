"""A disk that fills up while a sweep runs: whoever needs room waits for it, and nothing is lost."""

import errno
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a full disk or a full quota."""
PAUSE_SECONDS = 5.0
"""Between two attempts on a full disk."""
LITTLE_BYTES = 16 * 2**20
"""With less than this left, whatever failed may have failed for want of room."""


def once_there_is_room(write: Callable[[], Result], folder: Path, tell: Callable[[str | None], None]) -> Result:
    """What ``write`` returns, tried again and again while the disk is full.

    Args:
        write: writes into ``folder``, and leaves nothing half-written where it raises.
        folder: named in the message.
        tell: called with a sentence when the disk is full, and with none when it has room again.
    """
    waited = False
    while True:
        try:
            result = write()
        except OSError as error:
            if error.errno not in FULL:
                raise
            if not waited:
                tell(f"the disk of {folder} is full: the sweep waits until there is room again")
            waited = True
            time.sleep(PAUSE_SECONDS)
            continue
        if waited:
            tell(None)
        return result


def is_full(folder: Path) -> bool:
    """Whether so little room is left on the disk of ``folder`` that writing there may fail."""
    return shutil.disk_usage(folder).free < LITTLE_BYTES


def wait_for_room(folder: Path, waiting: Callable[[], None]) -> None:
    """Return once the disk of ``folder`` has room; ``waiting`` is called now and then until it has."""
    while is_full(folder):
        waiting()
        time.sleep(PAUSE_SECONDS)
