"""The checkpoints of one training in a bucket: files in folders of their own, and one object that says which count.

That object is written under the condition that it is what this attempt wrote last. It is claim, pointer and manifest in
one: an attempt that was held to be lost publishes nothing from the moment that a later one has taken it.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.errors import CheckpointError, StorageError
from training.storage.bucket import Bucket, Stored, Taken, Version

INDEX = "index.json"


@dataclass(frozen=True)
class Published:
    """One checkpoint that is whole in the bucket."""

    name: str
    """Of its local folder, by which they are ordered."""
    folder: str
    """Of its objects, which no other attempt writes."""
    files: Mapping[str, int] = field(default_factory=dict)
    """Bytes by name."""


class StoredCheckpoints:
    """The checkpoints of one training; one rank takes and publishes, every machine uploads and downloads.

    Args:
        bucket: the sweep's.
        prefix: of the training's objects.
        run: the run of the sweep that the attempt belongs to; what other runs have claimed may be taken over.
        attempt: later ones have larger numbers.
    """

    def __init__(self, bucket: Bucket, prefix: str, run: str, attempt: int) -> None:
        self.bucket = bucket
        self._prefix = prefix
        self._run = run
        self._attempt = attempt
        self._version: Version | None = None
        self._tokens: set[str] = set()
        """Of what this process wrote, or tried to."""
        self.published: list[Published] = []
        """What there is, oldest first; as of the last call of :meth:`take` or :meth:`publish` on this rank."""

    def take(self, *, resume: bool = True) -> None:
        """Be the one attempt that publishes, and remove what never was or no longer is.

        Args:
            resume: whether what is there still counts.

        Raises:
            CheckpointError: a later attempt of this run is at work.
            StorageError: the store cannot be used, or what says which checkpoints count is damaged.
        """
        while True:
            found = self.bucket.read(self.key(INDEX))
            published = [] if found is None else self._read(found)
            try:
                self._write(published if resume else [], None if found is None else found.version)
            except Taken:  # somebody else takes it at this moment, and has the larger number, or not
                continue
            break
        kept = tuple(f"{self.key(one.folder)}/" for one in self.published)
        others = [one.key for one in self.bucket.entries(self._prefix) if not one.key.startswith(kept)]
        self.bucket.remove([key for key in others if key != self.key(INDEX)])

    def new_folder(self, name: str) -> str:
        """Where the files of a checkpoint called ``name`` go; another one at each call."""
        return f"{name}-{self._attempt}-{secrets.token_hex(4)}"

    def upload(self, folder: str, directory: Path) -> dict[str, int]:
        """Put all files of ``directory`` there; bytes by name."""
        files = sorted(file for file in directory.iterdir() if file.is_file() and not file.name.startswith("."))
        for file in files:
            self.bucket.upload(f"{self.key(folder)}/{file.name}", file)
        return {file.name: file.stat().st_size for file in files}

    def publish(self, one: Published, keep: int) -> None:
        """From now on ``one`` counts, and of those before it the newest, ``keep`` in all.

        Raises:
            CheckpointError: another attempt has taken the training over.
        """
        others = [other for other in self.published if other.name < one.name]
        self._exchange(sorted([*others, one], key=lambda other: other.name)[-keep:])

    def drop(self, name: str) -> None:
        """The checkpoint ``name`` counts no more: it is damaged.

        Raises:
            CheckpointError: another attempt has taken the training over.
        """
        self._exchange([one for one in self.published if one.name != name])

    def download(self, one: Published, directory: Path) -> None:
        """Have all files of ``one`` in ``directory``; those that are there with their size stay."""
        for name, size in one.files.items():
            file = directory / name
            if not file.is_file() or file.stat().st_size != size:
                self.bucket.download(f"{self.key(one.folder)}/{name}", file, size)

    def _exchange(self, published: list[Published]) -> None:
        before = self.published
        try:
            self._write(published, self._version)
        except Taken as error:
            found = self.bucket.read(self.key(INDEX))
            if found is None or not self._wrote(found):
                raise CheckpointError(
                    f"{self.bucket.address}/{self._prefix} is no longer this worker's: the trial was given to another"
                ) from error
            self._version = found.version  # of a write that was given up before its answer came
            return self._exchange(published)
        for gone in (one for one in before if one not in published):
            self.bucket.remove([f"{self.key(gone.folder)}/{name}" for name in gone.files])

    def _write(self, published: list[Published], before: Version | None) -> None:
        token = secrets.token_hex(8)
        self._tokens.add(token)
        told = {
            "run": self._run,
            "attempt": self._attempt,
            "written": token,
            "checkpoints": [{**vars(one), "files": dict(one.files)} for one in published],
        }
        key, data = self.key(INDEX), json.dumps(told).encode()
        self._version = self.bucket.create(key, data) if before is None else self.bucket.exchange(key, data, before)
        self.published = published

    def _read(self, found: Stored) -> list[Published]:
        told = _checked(found, f"{self.bucket.address}/{self.key(INDEX)}")
        if told["run"] == self._run and told["attempt"] > self._attempt:
            raise CheckpointError(
                f"{self.bucket.address}/{self._prefix} is no longer this worker's: the trial was given to another"
            )
        return _published(told)

    def _wrote(self, found: Stored) -> bool:
        """Whether it was this process that wrote ``found``."""
        return _checked(found, f"{self.bucket.address}/{self.key(INDEX)}").get("written") in self._tokens

    def key(self, name: str) -> str:
        """The object ``name`` of this training."""
        return f"{self._prefix}/{name}"


def published(bucket: Bucket, prefix: str) -> list[Published]:
    """The checkpoints of the training ``prefix``, oldest first, for those who only read them.

    Raises:
        StorageError: the store cannot be used, or what says which checkpoints count is damaged.
    """
    found = bucket.read(f"{prefix}/{INDEX}")
    return [] if found is None else _published(_checked(found, f"{bucket.address}/{prefix}/{INDEX}"))


def fetch_latest(bucket: Bucket, prefix: str, directory: Path) -> Path | None:
    """The newest checkpoint of the training ``prefix``, in a folder below ``directory``; None where there is none."""
    there = published(bucket, prefix)
    if not there:
        return None
    local = directory / there[-1].folder  # no other content ever has that name
    local.mkdir(parents=True, exist_ok=True)
    StoredCheckpoints(bucket, prefix, "", 0).download(there[-1], local)
    return local


def _checked(found: Stored, what: str) -> dict[str, Any]:
    try:
        told = found.json()
        if not isinstance(told["run"], str) or not isinstance(told["attempt"], int):
            raise ValueError("it does not say whose it is")
        _published(told)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{what} is damaged ({error}): remove it, and the trial starts over") from error
    return told


def _published(told: Mapping[str, Any]) -> list[Published]:
    """Raises ValueError, KeyError, TypeError or AttributeError where it is damaged."""
    found = [Published(str(one["name"]), str(one["folder"]), dict(one["files"])) for one in told["checkpoints"]]
    for one in found:
        for name in (one.name, one.folder, *one.files):
            if not name or "/" in name or name.startswith("."):
                raise ValueError(f"{name!r} is no name of a file")
        if not all(isinstance(size, int) and size >= 0 for size in one.files.values()):
            raise ValueError("sizes are whole numbers")
    return found
