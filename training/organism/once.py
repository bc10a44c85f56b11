"""A directory that is built exactly once, whoever asks and whoever is killed."""

import glob
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from training.errors import ModelError

Report = Callable[[str, float], None]
"""Called with what is going on and the fraction of the work that is done."""


def build_once(directory: Path, build: Callable[[Path], None], report: Report) -> Path:
    """``directory``, filled by ``build`` unless it exists.

    Processes that ask at the same time wait for the one that builds. ``build`` gets a directory beside the final one,
    which takes its final name only when complete; what a killed build leaves there is removed by the next.

    Args:
        directory: final place; its existence means that it is complete.
        build: fills the empty directory that it is given.
        report: told when another process is being waited for.

    Raises:
        ModelError: the cache cannot be written.
    """
    if directory.is_dir():
        return directory
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(directory.with_name(f"{directory.name}.lock"))
        try:
            lock.acquire(blocking=False)
        except Timeout:
            report("waiting for another process that builds the same model", 0.0)
            lock.acquire()
    except OSError as error:
        raise ModelError(
            f"the cache of built models {directory.parent} cannot be written ({error}): "
            "set PROCON_CACHE to a directory that can"
        ) from error
    try:
        if not directory.is_dir():
            _build(directory, build)
    finally:
        lock.release()
    return directory


def _build(directory: Path, build: Callable[[Path], None]) -> None:
    machine = f".{directory.name}.partial-{socket.gethostname()}-"
    # The lock is ours, so whatever this machine left belongs to a build that was killed. Another one may be at work,
    # where a home folder is shared without its locks.
    for left in directory.parent.glob(f"{glob.escape(machine)}*"):
        shutil.rmtree(left, ignore_errors=True)
    partial = directory.with_name(f"{machine}{os.getpid()}")
    partial.mkdir()
    try:
        build(partial)
        try:
            os.replace(partial, directory)
        except OSError:
            if not directory.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
