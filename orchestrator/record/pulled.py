"""A sweep in a bucket, as it is at this moment, in a local folder for whoever reads it."""

from pathlib import Path

from filelock import FileLock

from orchestrator.errors import OutputError
from orchestrator.record.folder import JOURNAL
from orchestrator.storage.files import Known, fetch_files
from orchestrator.storage.parts import fetch_journal
from training.storage.address import READ, made_local_folder
from training.storage.bucket import Bucket

PATIENCE = 20.0


def pulled(address: str, *, journal_alone: bool = False) -> Path:
    """The local folder of the sweep at ``address`` for those who read it, with what is new fetched.

    It is another one than that of a driver on this machine.

    Args:
        address: a checked one.
        journal_alone: leave out answers and reports. Weights are left out anyway.

    Raises:
        OutputError: there is no sweep.
        StorageError: the store or the local folder cannot be used.
    """
    bucket = Bucket(address, PATIENCE)
    folder = made_local_folder(address, READ)
    with FileLock(folder / ".lock"):
        known = Known.of(folder)
        if not fetch_journal(bucket, folder / JOURNAL, known):
            raise OutputError(f"{address} holds no sweep: its journal is missing; give the address that procon run had")
        if not journal_alone:
            fetch_files(bucket, folder, known)
        known.keep()
    return folder
