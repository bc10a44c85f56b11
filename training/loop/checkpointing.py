"""Where the checkpoints of a training are, and which of them is the newest."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from training.loop.claim import Claim
from training.loop.forks import ALONE, Forking
from training.storage.checkpoints import StoredCheckpoints

log = logging.getLogger(__name__)

LATEST_FILE = "latest"
"""Names the newest complete checkpoint."""


@dataclass(frozen=True)
class Checkpointing:
    """Where the checkpoints of one trial go.

    On several machines the directory must be one that all of them share, or there must be a store.
    """

    directory: Path
    """Of this trial alone; made when the first checkpoint is."""
    every: int
    """Optimizer steps between two checkpoints; the last step gets one too."""
    keep: int = 2
    """How many of the newest stay."""
    resume: bool = True
    """Go on from the newest one where there is one; otherwise those found are removed and training starts over."""
    model: str = ""
    """Fingerprint of the untouched model, which a checkpoint of adapters does not contain."""
    say: Callable[[str], None] = log.warning
    """Told in a sentence what whoever trains should know; on rank 0."""
    claim: Claim | None = None
    """By which the directory is this training's; None where no other can want it."""
    store: StoredCheckpoints | None = None
    """Where they are kept in a bucket, under its claim; the directory is then this machine's alone."""
    any_size: bool = False
    """Whether a group of another size may have to go on: :mod:`training.loop.portable` is then written as well, where
    ZeRO's shares would not let it. It takes as much room and time again."""
    leaves: Callable[[], bool] | None = None
    """Asked on rank 0 after every step: whether the machine will be taken away, so that the training has to be saved
    and to go on elsewhere. None where that cannot be."""
    forking: Forking = ALONE
    """What is kept for other trainings, and from which of them this one begins."""


def latest(directory: Path) -> Path | None:
    """The newest complete checkpoint below ``directory``; None where there is none."""
    pointer = directory / LATEST_FILE
    if not pointer.exists():
        return None
    named = directory / pointer.read_text(errors="replace").strip()
    if named.parent == directory and named.is_dir():
        return named
    return max(directory.glob("step-*"), default=None)  # each is complete


def point_to(path: Path) -> None:
    """From now on the checkpoint ``path`` is the newest of its folder."""
    pointer = path.with_name(f"{LATEST_FILE}.new")
    pointer.write_text(path.name)
    os.replace(pointer, path.with_name(LATEST_FILE))
