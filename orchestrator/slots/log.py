"""What the broker keeps on disk, so that its successor knows all that it knew."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from orchestrator.slots.messages import Job, Update
from training.config import ModelConfig

COMPACT_BYTES = 64 * 2**20
"""By so much the file grows before what is settled is taken out of it."""

_TYPES: Final[dict[str, TypeAdapter[Any]]] = {kind.__name__: TypeAdapter(kind) for kind in (Job, Update, ModelConfig)}


class Log:
    """A file of changes, a line each, that outlives the process that writes it; no power failure, which ends Ray too.

    Args:
        path: of the file, on a disk of this machine; what it holds already is kept, but for a line that was cut short.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._cut()
        self._file = path.open("ab", buffering=0)
        self._compacted = path.stat().st_size

    def lines(self) -> Iterator[tuple[str, list[Any]]]:
        """Every change in order: its name and its arguments."""
        with self._path.open("rb") as file:
            for line in file:
                name, _, arguments = json.loads(line)
                yield name, [_decoded(argument) for argument in arguments]

    def append(self, name: str, arguments: tuple[Any, ...], job: str | None) -> None:
        """Keep a change; ``job`` is the job that it is of, with which it can be forgotten.

        Raises:
            OSError: it cannot be written; the file is what it was.
        """
        line = json.dumps([name, job, [_encoded(argument) for argument in arguments]]).encode() + b"\n"
        before = self._file.seek(0, 2)
        try:
            written = self._file.write(line)
            if written != len(line):
                raise OSError(f"{self._path} took {written} of {len(line)} bytes")
        except OSError:
            self._file.truncate(before)
            raise

    def compact(self, is_settled: Callable[[str], bool]) -> None:
        """Take the changes of settled jobs out, once the file has grown by :data:`COMPACT_BYTES`.

        Raises:
            OSError: there is no room for the new file; the old one stays.
        """
        if self._file.seek(0, 2) < self._compacted + COMPACT_BYTES:
            return
        new = self._path.with_suffix(".new")
        with self._path.open("rb") as old, new.open("wb") as kept:
            for line in old:
                job = json.loads(line)[1]
                if job is None or not is_settled(job):
                    kept.write(line)
        new.replace(self._path)
        self._file.close()
        self._file = self._path.open("ab", buffering=0)
        self._compacted = self._path.stat().st_size

    def remove(self) -> None:
        """Close and delete the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _cut(self) -> None:
        """Remove a last line without an end, of a process that was killed while it wrote."""
        if self._path.exists():
            whole = self._path.read_bytes()
            end = whole.rfind(b"\n") + 1
            if end < len(whole):
                with self._path.open("r+b") as file:
                    file.truncate(end)


def _encoded(value: Any) -> Any:
    name = type(value).__name__
    if name in _TYPES:
        return {"type": name, "value": _TYPES[name].dump_python(value, mode="json")}
    return value


def _decoded(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"type", "value"}:
        return _TYPES[value["type"]].validate_python(value["value"])
    return value
