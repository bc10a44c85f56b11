"""The record of a sweep: append-only, one JSON event per line, fsynced; everything else is derived from it."""

import json
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.errors import OutputError
from orchestrator.records import Status, TrialRecord

Event = dict[str, Any]


class Journal:
    """Writes events; safe to call from several threads.

    Args:
        path: the journal file; created when absent, appended to when present.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        _cut_unfinished_line(path)
        self._file = path.open("a", encoding="utf-8")

    def append(self, event: str, **fields: Any) -> Event:
        """Record ``event`` with the current time; on return it survives the death of this process and machine."""
        entry: Event = {"event": event, "time": time.time(), **fields}
        line = json.dumps(entry, allow_nan=False) + "\n"
        with self._lock:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
        return entry

    def close(self) -> None:
        """Release the file."""
        self._file.close()


def _cut_unfinished_line(path: Path) -> None:
    """Drop what a killed writer left half-written, so that the next event starts on a line of its own."""
    if not path.exists():
        return
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


def read_journal(path: Path) -> list[Event]:
    """All complete events of the journal at ``path``; a last line cut off by a kill is left out.

    Raises:
        OutputError: there is no journal, or a line before the last is damaged.
    """
    if not path.is_file():
        raise OutputError(f"{path.parent} holds no sweep: {path.name} is missing")
    lines = path.read_text(encoding="utf-8").split("\n")
    events: list[Event] = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number == len(lines):
                break
            raise OutputError(f"{path}, line {number} is damaged ({error}): remove it to read the rest") from error
    return events


def records(events: Iterable[Event]) -> list[TrialRecord]:
    """What the events say of every trial, in the order the trials started."""
    found: dict[str, TrialRecord] = {}
    steps: dict[str, dict[int, dict[str, float]]] = {}
    for event in events:
        kind = event["event"]
        if kind == "trial_started":
            found[event["id"]] = TrialRecord(
                id=event["id"],
                model=event["model"],
                kind=event["kind"],
                label=event["label"],
                status=Status.RUNNING,
                params=event["params"],
                started=event["time"],
            )
            steps[event["id"]] = {}
        elif kind == "trial_reported":
            steps[event["id"]][event["step"]] = event["metrics"]  # a restarted trial repeats its steps
        elif kind == "trial_ended":
            found[event["id"]] = replace(
                found[event["id"]],
                status=Status(event["status"]),
                metrics=event["metrics"],
                counts={name: (pair[0], pair[1]) for name, pair in event["counts"].items()},
                error=event["error"],
                finished=event["time"],
            )
    return [replace(record, history=tuple(sorted(steps[record.id].items()))) for record in found.values()]
