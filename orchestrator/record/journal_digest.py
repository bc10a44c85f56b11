"""A journal without the reports of ended trials: what a look at a large sweep needs, in a fraction of the time."""

import gc
from pathlib import Path

from pydantic_core import from_json

from orchestrator.errors import OutputError
from orchestrator.record.journal import Event

_ON_THE_WAY = (b'{"event": "trial_reported"', b'{"event": "trial_rung"')
"""How the lines begin that most of a journal is made of."""
_ENDED = b'{"event": "trial_ended"'
_SESSION = b'{"event": "sweep_'
_ID = b'"id": "'


def read_digest(path: Path) -> list[Event]:
    """The events of the journal at ``path`` but for reports and rungs that a later line of their trial overtakes.

    Kept are every start and end, the last report of each trial that has not ended, and the last event before anything
    that the driver itself says, from which its time is counted.

    Raises:
        OutputError: there is no journal, or a line before the last is damaged.
    """
    if not path.is_file():
        raise OutputError(f"{path.parent} holds no sweep: {path.name} is missing")
    lines = path.read_bytes().split(b"\n")
    kept = _kept(lines)
    enabled = gc.isenabled()
    gc.disable()  # looking for cycles among so many new objects takes longer than reading them
    try:
        return [event for number in kept for event in _parsed(path, lines, number)]
    finally:
        if enabled:
            gc.enable()


def _kept(lines: list[bytes]) -> list[int]:
    """Numbers of the lines that matter, in order."""
    latest: dict[bytes, int] = {}
    kept: set[int] = set()
    last = -1
    for number, line in enumerate(lines):
        if not line:
            continue
        if line.startswith(_ON_THE_WAY):
            latest[_trial(line)] = number
        else:
            kept.add(number)
            if line.startswith(_ENDED):
                latest.pop(_trial(line), None)
            elif line.startswith(_SESSION) and last >= 0:
                kept.add(last)
        last = number
    return sorted(kept | set(latest.values()) | ({last} if last >= 0 else set()))


def _trial(line: bytes) -> bytes:
    """The id in a line, which stands behind event and time."""
    start = line.find(_ID) + len(_ID)
    return line[start : line.find(b'"', start)]


def _parsed(path: Path, lines: list[bytes], number: int) -> list[Event]:
    try:
        return [from_json(lines[number], cache_strings="keys")]
    except ValueError as error:
        if number == len(lines) - 1:
            return []  # cut off by a kill
        raise OutputError(f"{path}, line {number + 1} is damaged ({error}): remove it to read the rest") from error
