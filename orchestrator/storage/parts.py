"""The journal in a bucket: objects in order, each of at most a mebibyte, of which the last is replaced as it grows.

A new part is created where none is, and the last one is exchanged for itself and more, each under the condition that
nobody else has written it: whoever drives a sweep that another has taken over is told so by the first line it adds.
"""

from dataclasses import dataclass
from pathlib import Path

from orchestrator.storage.files import Known
from training.storage.bucket import Bucket, Taken, Version

PARTS = "journal/"
LARGEST = 2**20
"""Bytes after which the next part is begun."""


def _key(number: int) -> str:
    return f"{PARTS}{number:06d}.jsonl"


@dataclass
class Parts:
    """How far the journal is in the bucket."""

    bucket: Bucket
    carried: int = 0
    """Bytes of the journal that are there."""
    _number: int = 0
    """Of the last part, from 1 on; 0 before there is any."""
    _begin: int = 0
    """Byte of the journal that it begins with."""
    _version: Version | None = None
    """Its content."""

    @classmethod
    def read(cls, bucket: Bucket) -> tuple["Parts", bytes]:
        """What is in the bucket, and the journal that it makes; empty where there is none."""
        parts, content = cls(bucket), b""
        while (found := bucket.read(_key(parts._number + 1))) is not None:
            parts._number += 1
            parts._begin, parts._version = len(content), found.version
            content += found.data
        parts.carried = len(content)
        return parts, content

    def carry(self, journal: Path, end: int) -> None:
        """Put what the file ``journal`` has more before its byte ``end`` into the bucket, whole lines of it.

        Raises:
            Taken: another driver writes this journal.
            StorageError: the store cannot be reached, or refuses.
        """
        if self.carried - self._begin >= LARGEST:  # as another driver may have left it
            self._begin = self.carried
        with journal.open("rb") as file:
            file.seek(self._begin)
            rest = file.read(end - self._begin) if end > self.carried else b""
        rest = rest[: rest.rfind(b"\n") + 1]
        if self._begin + len(rest) <= self.carried:
            return
        for piece in _cut(rest):
            if self._begin == self.carried:
                self._version = self._put(_key(self._number + 1), piece, None)
                self._number += 1
            else:
                self._version = self._put(_key(self._number), piece, self._version)
            self.carried = self._begin + len(piece)
            if len(piece) >= LARGEST:
                self._begin = self.carried

    def _put(self, key: str, piece: bytes, before: Version | None) -> Version:
        """Write a part in the place of ``before``, or of nothing.

        What is there instead is ours where it begins as ours does and is no longer: of an earlier attempt that was
        given up before its answer came, and since when more lines have come.
        """
        try:
            return self.bucket.create(key, piece) if before is None else self.bucket.exchange(key, piece, before)
        except Taken:
            found = self.bucket.read(key)
            if found is None or found.version == before or not piece.startswith(found.data):
                raise
            return self.bucket.exchange(key, piece, found.version)


def _cut(lines: bytes) -> list[bytes]:
    """``lines`` in pieces of whole lines, each but the last of at least :data:`LARGEST` bytes."""
    pieces = []
    while len(lines) >= LARGEST:
        end = lines.find(b"\n", LARGEST - 1) + 1
        pieces.append(lines[:end])
        lines = lines[end:]
    return pieces + ([lines] if lines else [])


def fetch_journal(bucket: Bucket, journal: Path, known: Known) -> bool:
    """Have the file ``journal`` hold what is in the bucket, reading only what is new; whether there is a journal.

    Args:
        bucket: the sweep's.
        journal: a file that nobody else writes.
        known: what was fetched before.
    """
    entries = bucket.entries(PARTS)
    if not entries:
        return False
    begin, offset = 0, 0
    for entry in entries:
        if not known.has(entry):
            break
        begin, offset = begin + 1, offset + entry.size
    if not journal.is_file() or journal.stat().st_size < offset:
        begin, offset = 0, 0
    with journal.open("r+b" if journal.is_file() else "w+b") as file:
        file.truncate(offset)
        file.seek(offset)
        for number, entry in enumerate(entries[begin:], start=begin + 1):
            found = bucket.read(_key(number))
            if found is None:
                break
            file.write(found.data)
            if len(found.data) == entry.size:
                known.note(entry)
    return True
