"""``procon stop``: asks the driver of a sweep to end cleanly, from any shell that sees the folder."""

import time
from pathlib import Path

from orchestrator.errors import OutputError
from orchestrator.record.folder import STOP_REQUEST, named
from orchestrator.record.lock import is_driven
from orchestrator.storage.lease import ask_to_stop
from training.storage.address import address_of
from training.storage.bucket import Bucket


def request_stop(directory: Path, seconds: float) -> bool:
    """Ask the sweep in ``directory`` to stop, and wait for at most ``seconds``; whether it has ended.

    Raises:
        OutputError: there is no sweep, or nobody drives it.
        StorageError: it is in a bucket that cannot be reached.
    """
    if not is_driven(directory):
        raise OutputError(f"{named(directory)} is not running: nothing to stop; procon status tells how far it came")
    address = address_of(directory)
    if address is None:
        (directory / STOP_REQUEST).touch()
    else:
        ask_to_stop(Bucket(address))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not is_driven(directory):
            return True
        time.sleep(0.2 if address is None else 1.0)
    return not is_driven(directory)
