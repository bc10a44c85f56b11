"""How much a machine keeps of the checkpoints of a sweep in a bucket: those it trains, and others up to a limit."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LIMIT = "PROCON_BUCKET_CACHE_GB"
"""Environment variable: gigabytes that checkpoints of trainings that ended or went elsewhere may take here."""
DEFAULT_GB = 100.0


@contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """While active, ``folder`` stays; of its siblings those that nobody uses go, oldest first, beyond the limit."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder).open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        trim(folder.parent, limit_bytes())
        yield


def limit_bytes() -> float:
    """The limit; the default one where the variable is no number."""
    try:
        return float(os.environ.get(LIMIT, DEFAULT_GB)) * 1e9
    except ValueError:
        return DEFAULT_GB * 1e9


def trim(folder: Path, limit: float) -> None:
    """Remove folders in ``folder`` that nobody uses, those changed longest ago first, down to ``limit`` bytes."""
    there = sorted((one for one in folder.iterdir() if one.is_dir()), key=_changed)
    sizes = {one: _size(one) for one in there}
    total = sum(sizes.values())
    for one in there:
        if total <= limit:
            return
        if _remove_unused(one):
            total -= sizes[one]


def _remove_unused(folder: Path) -> bool:
    with _lock(folder).open("ab") as asked:
        try:
            fcntl.flock(asked, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        shutil.rmtree(folder, ignore_errors=True)
    return True


def _size(folder: Path) -> int:
    total = 0
    for inside, _, files in os.walk(folder):
        for name in files:
            with suppress(OSError):  # it is being written, and renamed at this moment
                total += (Path(inside) / name).stat().st_size
    return total


def _changed(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:  # another slot removes it at this moment
        return 0.0


def _lock(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.used")
