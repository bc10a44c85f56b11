"""``procon stop``: asks the driver of a sweep to end cleanly, from any shell that sees the folder."""

import time
from pathlib import Path

from orchestrator.errors import OutputError
from orchestrator.record.folder import STOP_REQUEST
from orchestrator.record.lock import is_driven


def request_stop(directory: Path, seconds: float) -> bool:
    """Ask the sweep in ``directory`` to stop, and wait for at most ``seconds``; whether it has ended.

    Raises:
        OutputError: there is no sweep, or nobody drives it.
    """
    if not is_driven(directory):
        raise OutputError(f"{directory} is not running: nothing to stop; procon status tells how far it came")
    (directory / STOP_REQUEST).touch()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not is_driven(directory):
            return True
        time.sleep(0.2)
    return not is_driven(directory)
