"""The record of a sweep: append-only, one JSON event per line, fsynced; all else is derived from it (SweepState)."""

import gc
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import from_json

from orchestrator.errors import OutputError
from orchestrator.record.atomic import write_with
from orchestrator.record.clock import now
from orchestrator.record.disk import once_there_is_room
from orchestrator.record.event_shapes import Shapes
from orchestrator.record.events import Event
from orchestrator.record.flock import lock_of
from orchestrator.record.sweep_state import SweepState
from orchestrator.record.trials import TrialRecord
from training.secrets import without_secrets

log = logging.getLogger(__name__)

TOLD = ("error", "reason", "text")
"""Fields with what others had to say: libraries, servers, models."""
LONGEST = 20_000
"""Characters of such a field; of what is longer, beginning and end are kept."""


class Journal:
    """Writes events; safe to call from several threads, and the one writer of its file.

    Args:
        path: the journal file; created when absent, appended to when present.
        on_full: told in a sentence when the disk is full, and once more (``None``) when it has room again.
        state: what the file already tells; None where it is new.

    Raises:
        OutputError: another driver writes to it.
    """

    def __init__(
        self,
        path: Path,
        on_full: Callable[[str | None], None] = lambda _sentence: None,
        state: SweepState | None = None,
    ) -> None:
        self.path = path
        self.state = state or SweepState()
        """What the events of the file come to, those that were appended here included."""
        self.on_full = on_full
        self._lock = threading.Lock()
        self._file = _locked(path)
        self.cut = _cut_unfinished_line(path)
        """Bytes of a half-written last line that a killed writer left, now removed."""

    def append(self, event: str, **fields: Any) -> Event:
        """Record ``event`` with the current time; on return it survives the death of this process and machine.

        It is in :attr:`state` then, and comes back as a reader of the file sees it.

        While the disk is full it waits, and with it whoever waits for the record: nothing is lost.
        """
        fields |= {name: _told(fields[name]) for name in TOLD if isinstance(fields.get(name), str)}
        line = json.dumps({"event": event, "time": now(), **fields}, allow_nan=False).encode()
        entry: Event = from_json(line, cache_strings="keys")  # whoever hears of it hears what others will read
        with self._lock:
            once_there_is_room(lambda: self._write(line + b"\n"), self.path.parent, self.on_full)
            self.state.take(entry)
        return entry

    def _write(self, line: bytes) -> None:
        """Put the whole line on disk, or take back what a full disk took of it and raise."""
        if os.fstat(self._file.fileno()).st_nlink == 0:
            self._put_back()
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

    def _put_back(self) -> None:
        """The file was deleted under the sweep; what it held is still in our hands."""
        content = Path(f"/proc/self/fd/{self._file.fileno()}").read_bytes()
        write_with(self.path, lambda partial: partial.write_bytes(content))
        self._file.close()
        self._file = _locked(self.path)
        log.warning("%s was deleted while the sweep ran; it is written anew", self.path)

    def divert(self, reason: str) -> None:
        """Another driver has the file now: from here on write beside it, where nobody reads."""
        with self._lock:
            beside = self.path.with_name(f"journal.{os.getpid()}.lost")
            log.warning("%s: what this driver still says goes to %s", reason, beside)
            self._file.close()
            self._file = beside.open("ab")

    def close(self) -> None:
        """Release the file."""
        self._file.close()


def _locked(path: Path) -> BinaryIO:
    """The file at ``path``, to be appended to by nobody else until it is closed.

    Raises:
        OutputError: another driver writes to it.
    """
    file = path.open("ab")
    try:
        if not lock_of(file):
            log.warning("%s: its file system knows no locks; drivers' signs of life alone keep a second one away", path)
    except BlockingIOError as error:
        file.close()
        raise OutputError(
            f"{path.parent} is in use: another driver writes to {path.name}; follow it with procon status, "
            "or end it with procon stop, before you start one here"
        ) from error
    return file


def _told(text: str) -> str:
    """``text`` without secrets, and no longer than anybody would read."""
    text = without_secrets(text)
    if len(text) <= LONGEST:
        return text
    left_out = len(text) - LONGEST
    return f"{text[: LONGEST // 4]} … ({left_out:,} characters left out) … {text[-3 * LONGEST // 4 :]}"


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
    with without_garbage_collection():
        return list(events_in(path, bytes_of(path)))


def bytes_of(path: Path) -> bytes:
    """The content of the journal at ``path``.

    Raises:
        OutputError: there is no journal.
    """
    if not path.is_file():
        raise OutputError(f"{path.parent} holds no sweep: {path.name} is missing")
    return path.read_bytes()


def events_in(path: Path, content: bytes, before: Iterable[Event] = (), lines_before: int = 0) -> Iterator[Event]:
    """All complete events in ``content``; a last line cut off by a kill is left out.

    Args:
        path: of the journal, for refusals.
        content: of the journal, from some line on.
        before: the events before that, as they are or abridged.
        lines_before: how many lines these take.

    Raises:
        OutputError: a line before the last is damaged.
    """
    shapes = Shapes(before)
    lines = content.split(b"\n")
    for number, line in enumerate(lines, start=lines_before + 1):
        if not line:
            continue
        try:
            event = from_json(line, cache_strings="keys", allow_inf_nan=False)
        except ValueError as error:
            if number == lines_before + len(lines):
                break
            raise OutputError(f"{path}, line {number} is damaged ({error}): remove it to read the rest") from error
        fault = shapes.fault(event)
        if fault is not None:
            raise OutputError(f"{path}, line {number} is damaged ({fault}): remove it to read the rest")
        yield event


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Events and records hold no cycles; looking for some among millions of new objects takes longer than reading."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def read_state(path: Path) -> SweepState:
    """Everything that the journal at ``path`` tells.

    Raises:
        OutputError: there is no journal, or a line before the last is damaged.
    """
    with without_garbage_collection():
        return SweepState.of(events_in(path, bytes_of(path)))


def records(events: Iterable[Event]) -> list[TrialRecord]:
    """What the events say of every trial, in the order the trials first started."""
    return SweepState.of(events).records()
