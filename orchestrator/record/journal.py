"""The record of a sweep: append-only, one JSON event per line, fsynced; everything else is derived from it."""

import fcntl
import gc
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from orchestrator.errors import OutputError
from orchestrator.record.disk import once_there_is_room
from orchestrator.record.score_fields import SELECT, scores_in
from orchestrator.record.trials import RungRecord, Status, TrialRecord, is_kept

Event = dict[str, Any]


class Journal:
    """Writes events; safe to call from several threads, and the one writer of its file.

    Args:
        path: the journal file; created when absent, appended to when present.
        on_full: told in a sentence when the disk is full, and once more (``None``) when it has room again.

    Raises:
        OutputError: another driver writes to it.
    """

    def __init__(self, path: Path, on_full: Callable[[str | None], None] = lambda _sentence: None) -> None:
        self.path = path
        self.on_full = on_full
        self._lock = threading.Lock()
        self._file = path.open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go of it when this process dies
        except OSError as error:
            self._file.close()
            raise OutputError(
                f"{path.parent} is in use: another driver writes to {path.name}; follow it with procon status, "
                "or end it with procon stop, before you start one here"
            ) from error
        self.cut = _cut_unfinished_line(path)
        """Bytes of a half-written last line that a killed writer left, now removed."""

    def append(self, event: str, **fields: Any) -> Event:
        """Record ``event`` with the current time; on return it survives the death of this process and machine.

        While the disk is full it waits, and with it whoever waits for the record: nothing is lost.
        """
        entry: Event = {"event": event, "time": time.time(), **fields}
        line = (json.dumps(entry, allow_nan=False) + "\n").encode()
        with self._lock:
            once_there_is_room(lambda: self._write(line), self.path.parent, self.on_full)
        return entry

    def _write(self, line: bytes) -> None:
        """Put the whole line on disk, or take back what a full disk took of it and raise."""
        end = self._file.tell()
        try:
            view = memoryview(line)
            while view:
                view = view[os.write(self._file.fileno(), view) :]
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(end)
            raise
        self._file.seek(0, os.SEEK_END)

    def close(self) -> None:
        """Release the file."""
        self._file.close()


def _cut_unfinished_line(path: Path) -> int:
    """Drop what a killed writer left half-written, so that the next event starts on a line of its own."""
    content = path.read_bytes()
    cut = len(content) - (content.rfind(b"\n") + 1)
    if cut:
        with path.open("r+b") as file:
            file.truncate(len(content) - cut)
    return cut


def read_journal(path: Path) -> list[Event]:
    """All complete events of the journal at ``path``; a last line cut off by a kill is left out.

    Raises:
        OutputError: there is no journal, or a line before the last is damaged.
    """
    if not path.is_file():
        raise OutputError(f"{path.parent} holds no sweep: {path.name} is missing")
    with _without_garbage_collection():
        return list(_events(path))


def _events(path: Path) -> Iterator[Event]:
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            yield from_json(line, cache_strings="keys")
        except ValueError as error:
            if number == len(lines):
                break
            raise OutputError(f"{path}, line {number} is damaged ({error}): remove it to read the rest") from error


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Events hold no cycles, and looking for some among millions of new objects takes longer than reading them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def records(events: Iterable[Event]) -> list[TrialRecord]:
    """What the events say of every trial, in the order the trials first started.

    A trial that was started again, after its driver was killed, is one trial: what its earlier start reported counts
    where the later start did not report the same step.
    """
    drafts: dict[str, _Draft] = {}
    for event in events:
        kind = event["event"]
        if kind == "trial_started":
            drafts.setdefault(event["id"], _Draft(event)).restart(event)
        elif kind == "trial_reported":
            drafts[event["id"]].history[event["step"]] = event["metrics"]
        elif kind == "trial_rung":
            drafts[event["id"]].rungs[event["step"]] = RungRecord(event["step"], scores_in(event))
        elif kind == "trial_ended":
            drafts[event["id"]].ended = event
    return [draft.record() for draft in drafts.values()]


def ended_for_good(event: Event) -> bool:
    """Whether the trial that ``event`` ended is left as it is when its sweep is resumed."""
    return is_kept(event["status"], event.get("unprepared", False))


def models_given_up(events: Iterable[Event]) -> dict[str, str]:
    """Why the last driver gave a model up, by model: its preparation failed, and so would every trial of it."""
    found: dict[str, str] = {}
    for event in events:
        if event["event"] in ("sweep_started", "sweep_resumed"):
            found = {}
        elif event["event"] == "model_given_up":
            found[event["model"]] = event["error"]
    return found


@dataclass
class _Draft:
    """What is known of one trial so far."""

    started: Event
    ended: Event | None = None
    history: dict[int, dict[str, float]] = field(default_factory=dict)
    rungs: dict[int, RungRecord] = field(default_factory=dict)

    def restart(self, event: Event) -> None:
        """Take in a start: it undoes an end that was none, but never a final one."""
        if self.ended is not None and not ended_for_good(self.ended):
            self.ended = None
        if self.ended is None:
            self.started = {**event, "time": self.started["time"]}

    def record(self) -> TrialRecord:
        started, ended = self.started, self.ended
        trial = started.get("trial")
        return TrialRecord(
            id=started["id"],
            model=started["model"],
            kind=started["kind"],
            label=started["label"],
            status=Status(ended["status"]) if ended else Status.RUNNING,
            params=started["params"],
            history=tuple(sorted(self.history.items())),
            rungs=tuple(rung for _, rung in sorted(self.rungs.items())),
            replicate_of=started.get("replicate_of"),
            seed=trial["seed"] if trial else None,
            trial=trial,
            started=started["time"],
            **_what_ended(ended),
        )


def _what_ended(ended: Event | None) -> dict[str, Any]:
    """Fields of a record that only the end of its trial tells."""
    if ended is None:
        return {}
    report, select = scores_in(ended), scores_in(ended, SELECT)
    return {
        "report": report,
        "select": select if select.metrics else report,  # the prompts were not split
        "error": ended["error"],
        "unprepared": ended.get("unprepared", False),
        "reason": ended.get("reason"),
        "finished": ended["time"],
    }
