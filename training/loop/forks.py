"""Forks: a training that begins from another's checkpoint, since both train identically up to there.

A training keeps checkpoints at its declared fork points in a folder beside its own, where they stay when its own go.
Which trainings share how many steps is :func:`training.config.shared_steps`.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from training.config import TrialConfig, shared_steps
from training.data.batch_plan import PLAN
from training.loop import portable
from training.loop.identity import Identity, read_manifest
from training.loop.names import step_name

_PARTIAL = "partial-"


def _untold(_reason: str | None) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Fork:
    """Where a training begins."""

    directory: Path
    """Fork points of the other training."""
    step: int
    """After which of its optimizer steps."""
    begins: Callable[[str | None], None] = _untold
    """Told on every rank, before the first step, whether it does: None where it does, or went on from there before;
    else why not, so that it begins at its own first step."""


@dataclass(frozen=True)
class Forking:
    """What one training has to do with others."""

    points: frozenset[int] = frozenset()
    """Optimizer steps after which a checkpoint is made and kept for others."""
    directory: Path | None = None
    """Where these are kept, on the same storage as the training's own; None keeps none."""
    start: Fork | None = None
    """Where it begins; None begins at its first step."""

    def keeps(self, step: int) -> bool:
        """Whether others may want the checkpoint after ``step``."""
        return self.directory is not None and step in self.points


ALONE = Forking()
"""It has nothing to do with any."""


def keep_fork_point(checkpoint: Path, directory: Path, attempt: str) -> None:
    """Have the files of a complete ``checkpoint`` in ``directory`` as well, by hard links where the storage has them.

    What another attempt at the same training has put there stays: it is the same.

    Args:
        checkpoint: nothing changes its files any more.
        directory: of all fork points of the training; made where it is not there.
        attempt: by which no other writes under the same name.
    """
    final = directory / checkpoint.name
    if final.exists():
        return
    written = directory / f"{_PARTIAL}{attempt}-{checkpoint.name}"
    shutil.rmtree(written, ignore_errors=True)
    shutil.copytree(checkpoint, written, copy_function=_link)
    try:
        written.rename(final)
    except OSError:  # another attempt was faster
        shutil.rmtree(written, ignore_errors=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a storage without links
        shutil.copy2(source, target)


def fork_fault(fork: Fork, own: Identity, *, any_world_size: bool) -> str | None:
    """Why nothing can begin from ``fork``, in a few words; None where it can, as far as names and sizes tell.

    Args:
        fork: where to begin.
        own: what is to begin there.
        any_world_size: whether any number of workers can read it.
    """
    path = fork.directory / step_name(fork.step)
    try:
        saved, plan = read_manifest(path)
        shared = shared_steps(TrialConfig.model_validate(saved.trial), TrialConfig.model_validate(own.trial))
    except FileNotFoundError:
        return "it is gone"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        return f"it is damaged: {' '.join(str(error).split()) or type(error).__name__}"
    if plan != PLAN or shared < fork.step or (saved.data, saved.model) != (own.data, own.model):
        return "it is of another training"
    if saved.world_size != own.world_size and not any_world_size and not portable.is_in(path):
        return f"it was made by {saved.world_size} workers and cannot be loaded by {own.world_size}"
    return None
