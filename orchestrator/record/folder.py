"""The output folder of a sweep."""

import json
import os
from pathlib import Path
from typing import Any

from orchestrator.errors import OutputError
from orchestrator.record.atomic import write_text
from training.storage.address import address_of, checked, is_address

JOURNAL = "journal.jsonl"
SPEC = "sweep.json"
CHECKPOINTS = "checkpoints"
"""One folder a trial; on several machines the output folder must be one that all of them share."""
FORKS = "forks"
"""One folder a trial: checkpoints at the steps at which other trials may part from it, for as long as any can come."""
ANSWERS = "answers"
LOCK = "driver.lock"
"""Who drives the sweep now: process id and host, for people and ``procon status``; the journal's own lock decides."""
INTERRUPTED = "interrupted"
"""Why a sweep stopped that a person ended with Ctrl+C."""
STOP_REQUEST = "stop.request"
"""Its presence asks the driver to stop, from any machine that shares the folder."""


def create_output(requested: str | Path | None, name: str, base: Path = Path("runs")) -> Path:
    """A fresh, empty output folder.

    Args:
        requested: the folder asked for; None takes ``runs/<name>``, or ``runs/<name>-2`` and so on when taken.
        name: the sweep's name.
        base: parent of default folders.

    Raises:
        OutputError: the requested folder holds something already, or cannot be created.
    """
    if requested is not None:
        folder = check_output(requested)
        _make(folder)
        return folder
    number = 1
    while True:
        folder = (base / (name if number == 1 else f"{name}-{number}")).absolute()
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1
        except OSError as error:
            raise OutputError(f"{folder} cannot be created: {error.strerror}; choose another with --out") from error


def check_output(requested: str | Path) -> Path:
    """The folder that ``requested`` names, absolute; it is not made yet.

    Raises:
        OutputError: it holds something already, or cannot be made.
    """
    folder = possible(Path(requested).absolute(), "--out")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        held = "; procon resume goes on with the sweep in it" if (folder / JOURNAL).is_file() else ""
        raise OutputError(
            f"--out ({requested}) exists and is not empty: name a folder that is new or empty, or drop --out, and a "
            f"new one is made below runs/{held}"
        )
    existing = next(one for one in (folder, *folder.parents) if one.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise OutputError(f"--out ({requested}) cannot be written: {existing} is read-only or no folder; name another")
    return folder


def possible(folder: Path, field: str) -> Path:
    """``folder``, which need not be there.

    Raises:
        OutputError: no folder can be called so; it names the ``field`` that does.
    """
    try:
        folder.exists()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise OutputError(f"{field} ({str(folder)!r}) cannot be a folder ({reason}): choose another name") from error
    return folder


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"--out ({folder}) cannot be created: {error.strerror}") from error


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` so that a reader sees the old file or the new one, never half of it."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``.

    Raises:
        OutputError: it is missing or damaged.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
        return found
    except (OSError, ValueError, RecursionError) as error:
        raise OutputError(f"{path} cannot be read ({error}): give a folder that procon run made") from error


def named(folder: Path) -> str:
    """What people call the sweep whose folder is ``folder``: its address, where that is in a bucket."""
    return _address(folder) or str(folder)


def short_name(folder: Path) -> str:
    """:func:`named`, as a path relative to where we are, where that is not above."""
    return _address(folder) or short_path(folder)


def last_name(folder: Path) -> str:
    """The last part of what people call the sweep whose folder is ``folder``."""
    return named(folder.resolve()).rpartition("/")[2]


def _address(folder: Path) -> str | None:
    """The address whose local folder, or which itself, ``folder`` is."""
    return checked(str(folder)) if is_address(str(folder)) else address_of(folder)


def short_path(path: Path) -> str:
    """``path`` relative to where we are, where that is not above."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
