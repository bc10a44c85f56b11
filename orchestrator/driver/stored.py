"""A sweep whose folder is in a bucket, as its driver has it: a local folder like others, and what carries it there."""

import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from orchestrator.errors import OutputError
from orchestrator.record.flock import lock_of
from orchestrator.record.folder import CHECKPOINTS, JOURNAL, STOP_REQUEST
from orchestrator.slots.shared_storage import TOKEN
from orchestrator.storage.courier import Courier
from orchestrator.storage.files import Known, Uploads, fetch_directions, fetch_files
from orchestrator.storage.lease import STOP, Lease
from orchestrator.storage.parts import Parts
from training.errors import StorageError
from training.storage.address import local_folder, made_local_folder
from training.storage.bucket import Bucket, Taken

PATIENCE = 20.0
"""Seconds for which a store that gives no answer is asked before a sweep is refused."""
DELIVERY_SECONDS = 600.0
"""How long the end of a sweep waits for a store that is out."""


@dataclass
class StoredSweep:
    """What a driver holds of a sweep in a bucket, from :meth:`new` or :meth:`again` to :meth:`close`."""

    address: str
    folder: Path
    """The local folder."""
    said: list[str]
    """What people should know of how it was opened, in sentences."""
    _lease: Lease
    _courier: Courier

    @classmethod
    def new(cls, address: str) -> Self:
        """Begin a sweep at ``address``.

        Raises:
            OutputError: somebody else has begun one there meanwhile.
            StorageError: the store or the local folder cannot be used.
        """
        bucket = Bucket(address, PATIENCE)
        lease = Lease.take(bucket)
        try:
            said = _put_aside(local_folder(address))
            folder = made_local_folder(address)
            return cls(address, folder, said, lease, _courier(bucket, folder, Parts(bucket)))
        except BaseException:
            lease.release()
            raise

    @classmethod
    def again(cls, address: str) -> Self:
        """Go on with the sweep at ``address``, all of which but its weights is in the local folder afterwards.

        Raises:
            OutputError: there is none, or another driver has it.
            StorageError: the store or the local folder cannot be used.
        """
        bucket = Bucket(address, PATIENCE)
        if not bucket.entries("journal"):
            raise OutputError(f"{address} holds no sweep: its journal is missing; give the address that procon run had")
        lease = Lease.take(bucket)
        try:
            folder = made_local_folder(address)
            journal = folder / JOURNAL
            _refuse_driven(journal, address)
            parts, content = Parts.read(bucket)
            said = reconciled(journal, content)
            _fence(parts, journal, address)
            courier = _courier(bucket, folder, parts)
            known = Known.of(folder)
            fetch_files(bucket, folder, known, courier.uploads.has)
            known.keep()
            bucket.remove([one.key for one in bucket.entries() if one.key.startswith(TOKEN)])  # of a driver that died
            return cls(address, folder, said, lease, courier)
        except BaseException:
            lease.release()
            raise

    @property
    def fault(self) -> str | None:
        """Why this driver has to end, in a sentence: it is no longer the one."""
        return self._lease.fault or self._courier.fault

    def start(self, tell: Callable[[str | None], None]) -> None:
        """Carry everything from now on; the journal is there."""
        self._courier.bucket.remove([STOP])
        self._lease.when_asked_to_stop((self.folder / STOP_REQUEST).touch)
        self._courier.start(tell)

    def remove_checkpoints(self, trial: str) -> None:
        """Those of ``trial`` in the bucket, once what is in the journal by now is there as well."""
        self._courier.remove(f"{CHECKPOINTS}/{trial}")

    def fetch_directions(self) -> None:
        """Have here what workers elsewhere found out about the models' directions; while the store is out, not."""
        with suppress(StorageError):
            fetch_directions(Bucket(self.address, PATIENCE), self.folder)

    def carry_now(self) -> None:
        """Have in the bucket what is here, and removed there what is to be, before anything else is done.

        Raises:
            OutputError: another driver has the sweep.
            StorageError: the store is out, or refuses.
        """
        try:
            self._courier.carry()
        except Taken as error:
            raise OutputError(f"{self.address} is in use: another driver writes its journal") from error

    def deliver(self, say: Callable[[str], None], seconds: float = DELIVERY_SECONDS) -> bool:
        """Carry what is not in the bucket yet, and tell where it is if that fails; whether all is there."""
        try:
            if self._courier.deliver(seconds):
                return True
        except KeyboardInterrupt:
            say("interrupted")
        if self.fault is not None:
            say(f"{self.fault}; {self.folder} has it")
        else:
            say(
                f"not all of this is in {self.address} yet; {self.folder} has it, and procon resume {self.address} on "
                "this machine delivers it"
            )
        return False

    def close(self) -> None:
        """Let another driver have it."""
        self._courier.stop()
        self._lease.release()


def check_new(address: str) -> None:
    """Refuse a place in a bucket where no sweep can be begun; nothing is left there.

    Raises:
        OutputError: something is there, or the store knows no conditional writes.
        StorageError: the store cannot be reached or refuses.
    """
    bucket = Bucket(address, PATIENCE)
    if not bucket.is_empty():
        held = "; procon resume goes on with the sweep in it" if bucket.entries("journal") else ""
        raise OutputError(f"--out ({address}) is not empty: name a place where nothing is{held}")
    probe = f"probe-{secrets.token_hex(8)}"
    try:
        bucket.create(probe, b"first")
        bucket.create(probe, b"second")
    except Taken:
        return
    finally:
        bucket.remove([probe])
    raise OutputError(
        f"--out ({address}): this store overwrites what is to be written only once (If-None-Match), by which two "
        "drivers are kept apart: use another store"
    )


def reconciled(journal: Path, content: bytes) -> list[str]:
    """Have the local ``journal`` begin with ``content``, which is in the bucket; what that took, in sentences.

    What the local one has more, of a driver here that died before it was carried, stays and is carried now. One that
    goes on otherwise was overtaken by a driver elsewhere: it is put aside.
    """
    here = journal.read_bytes() if journal.is_file() else b""
    here = here[: here.rfind(b"\n") + 1]
    if here.startswith(content):
        more = here[len(content) :].count(b"\n")
        return [f"{more} events of the last driver here had not reached the bucket; they do now"] if more else []
    said = []
    if not content.startswith(here):
        aside = journal.with_name(f".{journal.stem}-{time.time_ns()}.jsonl")
        journal.rename(aside)
        said = [f"a driver elsewhere went on meanwhile: what the last one here recorded beyond it is in {aside}"]
    partial = journal.with_name(f".{journal.name}.partial")
    partial.write_bytes(content)
    partial.replace(journal)
    return said


def _fence(parts: Parts, journal: Path, address: str) -> None:
    """From now on no earlier driver can add to the journal, one that was merely cut off for a while included.

    Raises:
        OutputError: one has added to it at this moment.
    """
    if journal.stat().st_size == parts.carried:
        with journal.open("ab") as file:
            file.write(b"\n")  # an empty line says nothing, and makes another content of the last part
    try:
        parts.carry(journal, journal.stat().st_size)
    except Taken as error:
        raise OutputError(f"{address} is in use: another driver writes its journal at this moment") from error


def _courier(bucket: Bucket, folder: Path, parts: Parts) -> Courier:
    return Courier(bucket, folder / JOURNAL, parts, Uploads(bucket, folder))


def _put_aside(folder: Path) -> list[str]:
    """Make way for a new sweep where this machine has one of that address which is no longer in the bucket."""
    if not (folder / JOURNAL).exists():
        return []
    _refuse_driven(folder / JOURNAL, str(folder))
    aside = folder.with_name(f"{folder.name}-{time.time_ns()}")
    folder.rename(aside)
    return [f"what this machine had of a sweep that was there before is in {aside}"]


def _refuse_driven(journal: Path, what: str) -> None:
    """Raise where a driver on this machine has the local folder, though the store did not hear of it for a while."""
    if not journal.exists():
        return
    with journal.open("ab") as file:
        try:
            lock_of(file)
        except BlockingIOError as error:
            raise OutputError(f"{what} is in use: a driver on this machine is at work on it; end it first") from error
