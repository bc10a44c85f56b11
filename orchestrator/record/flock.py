"""The kernel's lock of an open file, which it lets go of when the process dies."""

import errno
import fcntl
from typing import IO, Any

HELD = (errno.EAGAIN, errno.EACCES)
"""What a file system says of a lock that somebody else has; NFS has both."""


def lock_of(file: IO[Any]) -> bool:
    """Take the lock of ``file`` without waiting; False where its file system has none.

    On NFS without a lock service, and on some parallel file systems, there is none.

    Raises:
        BlockingIOError: somebody else has it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            raise BlockingIOError(error.errno, "the lock is held") from error
        return False
    return True
