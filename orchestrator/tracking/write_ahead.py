"""SQLite's write-ahead log for stores that this process makes, which are filled in about half the time.

MLflow commits some ten times for a trial. Source: sqlite.org/wal.html, by which the log needs all who use a store to be
on one machine. A store that is there already is somebody's, and stays as it is.
"""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

LOCAL = {"apfs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "hfs", "overlay", "tmpfs", "xfs", "zfs"}
"""File systems of one machine."""
SCHEME = "sqlite:///"


def make_with_log(uri: str) -> None:
    """Make an empty store with a write-ahead log at ``uri``, a new SQLite file on a file system of this machine.

    Of any other address nothing is touched.
    """
    if not uri.startswith(SCHEME):
        return
    path = Path(uri.removeprefix(SCHEME))
    if path.exists() or not path.parent.is_dir() or not is_local(path.parent):
        return
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as store:  # else a slower one
        store.execute("PRAGMA journal_mode = WAL")


def follow(uri: str) -> Callable[[], None]:
    """Closes, when what is returned is called, all that MLflow opened of the SQLite store at ``uri`` since.

    A log is gone, and the store one whole file again, when the last who uses it has closed it; MLflow never does.
    """
    from sqlalchemy import Engine, event

    path, engines = uri.removeprefix(SCHEME), set[Engine]()

    def note(connection: "Connection") -> None:
        if connection.engine.url.database == path:
            engines.add(connection.engine)

    def close() -> None:
        event.remove(Engine, "engine_connect", note)
        for engine in engines:
            engine.dispose()

    event.listen(Engine, "engine_connect", note)
    return close


def is_local(folder: Path) -> bool:
    """Whether ``folder`` is on a file system that no other machine sees, as far as its kind tells."""
    import psutil

    own = folder.resolve()
    found = [disk for disk in psutil.disk_partitions(all=True) if own.is_relative_to(disk.mountpoint)]
    return bool(found) and max(found, key=lambda disk: len(disk.mountpoint)).fstype in LOCAL
