"""What goes on with a sweep, as a command line."""

import shlex
from pathlib import Path

from orchestrator.record.folder import short_name


def resume_command(directory: Path, address: str | None = None, stopped: str | None = None) -> str:
    """What goes on with a sweep, or delivers what MLflow has missed of it; a spent budget has to be raised.

    Args:
        directory: the sweep's folder.
        address: Ray cluster it was run on; None was a local Ray.
        stopped: why it ended before all was done.
    """
    command = f"procon resume {shlex.quote(short_name(directory))}"
    if address:
        command += f" --address {shlex.quote(address)}"
    budget = (stopped or "").partition(" ")[0]
    return f"{command} --set {budget}=MORE --accept" if budget.startswith("budget.") else command
