"""Files of a sweep between its local folder and the bucket; which of them belong there."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from training.storage.bucket import Bucket, Entry
from training.storage.shared import INDEX, Shared

FOLDERS = ("answers",)
"""Below the sweep's folder; beside them every file that lies in it."""
NOT_CARRIED = ("journal.jsonl", "driver.lock", "stop.request")
"""Files of the local folder that mean something on this machine alone, or go another way."""
DIRECTIONS = "directions"
"""Folder of what the machines of the sweep share and its readers want too: the report tells of it."""
FETCHED = ".fetched.json"


def to_carry(folder: Path) -> list[Path]:
    """The files below ``folder`` that belong into the bucket."""
    found = [file for file in folder.iterdir() if file.is_file()]
    found += [file for name in FOLDERS for file in (folder / name).glob("*") if file.is_file()]
    return sorted(file for file in found if not file.name.startswith(".") and file.name not in NOT_CARRIED)


@dataclass
class Uploads:
    """Which files are in the bucket as they are here.

    Args:
        bucket: the sweep's.
        folder: its local folder.
    """

    bucket: Bucket
    folder: Path
    _carried: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    def carry(self) -> None:
        """Upload every file that has changed since it was last looked at."""
        for file in to_carry(self.folder):
            with suppress(FileNotFoundError):  # it was replaced at this moment
                key, now = file.relative_to(self.folder).as_posix(), _state(file)
                if self._carried.get(key) != now:
                    self.bucket.upload(key, file)
                    self._carried[key] = now

    def has(self, key: str) -> None:
        """The file ``key`` is in the bucket as it is here."""
        with suppress(FileNotFoundError):
            self._carried[key] = _state(self.folder / key)


def _state(file: Path) -> tuple[int, int, int]:
    about = file.stat()
    return about.st_mtime_ns, about.st_size, about.st_ino


def fetch_directions(bucket: Bucket, folder: Path) -> None:
    """Have in ``folder`` what workers found out about the models' directions."""
    shared = Shared(bucket, folder)
    for entry in bucket.entries(DIRECTIONS):
        if entry.key.endswith(INDEX):
            shared.fetch(folder / entry.key.removesuffix(INDEX))


@dataclass
class Known:
    """Which objects a local folder has, as they are in the bucket; kept in a file of it."""

    folder: Path
    _seen: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> "Known":
        """What is known in ``folder``."""
        known = cls(folder)
        with suppress(OSError, ValueError, TypeError):
            known._seen = dict(json.loads((folder / FETCHED).read_text(encoding="utf-8")))
        return known

    def has(self, entry: Entry) -> bool:
        """Whether it was fetched as it is now."""
        return self._seen.get(entry.key) == [entry.size, entry.modified.timestamp()]

    def note(self, entry: Entry) -> None:
        """It was fetched."""
        self._seen[entry.key] = [entry.size, entry.modified.timestamp()]

    def keep(self) -> None:
        """Write it down."""
        (self.folder / FETCHED).write_text(json.dumps(self._seen), encoding="utf-8")


def fetch_files(bucket: Bucket, folder: Path, known: Known, fetched: Callable[[str], None] = lambda _key: None) -> None:
    """Have in ``folder`` what :class:`Uploads` has put into the bucket, fetching only what is new.

    Args:
        bucket: the sweep's.
        folder: its local folder.
        known: what was fetched before.
        fetched: told the key of every file that is here as it is there.
    """
    for entry in bucket.entries():
        parent, _, name = entry.key.rpartition("/")
        if (parent and parent not in FOLDERS) or name in (*NOT_CARRIED, "driver.json") or name.startswith("."):
            continue
        file = folder / entry.key
        if not (file.is_file() and known.has(entry)):
            bucket.download(entry.key, file, entry.size)
            known.note(entry)
        fetched(entry.key)
    fetch_directions(bucket, folder)
