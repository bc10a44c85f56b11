"""Whose a trial's checkpoints are, where a trial that was given to another slot may still be trained by the first."""

import os
from dataclasses import dataclass
from pathlib import Path

from training.errors import CheckpointError

CLAIM_FILE = "claim"


@dataclass(frozen=True)
class Claim:
    """One attempt at a training, which owns the folder of its checkpoints until a later one takes it over.

    A worker whose machine was cut off goes on, and may reach the shared folder when nobody can reach the worker any
    more: from the moment that a later attempt has begun, it must publish nothing there.
    """

    run: str
    """Of which run of a sweep; what another run has claimed may be taken over, since it is gone."""
    attempt: int
    """Later ones have larger numbers."""

    def __str__(self) -> str:
        return f"{self.run} {self.attempt}"

    def take(self, directory: Path) -> None:
        """Own ``directory``, which is made where it is not there, from now on.

        Raises:
            CheckpointError: a later attempt of this run owns it.
        """
        directory.mkdir(parents=True, exist_ok=True)
        run, _, attempt = _read(directory).rpartition(" ")
        if run == self.run and int(attempt) > self.attempt:
            raise _lost(directory)
        new = directory / f"{CLAIM_FILE}.{self.attempt}"
        new.write_text(str(self))
        os.replace(new, directory / CLAIM_FILE)

    def check(self, directory: Path) -> None:
        """Do nothing where ``directory`` is still owned.

        Raises:
            CheckpointError: it is not, or it was removed.
        """
        if _read(directory) != str(self):
            raise _lost(directory)


def _read(directory: Path) -> str:
    """What is claimed, as text; empty where nothing is."""
    try:
        return (directory / CLAIM_FILE).read_text()
    except FileNotFoundError:
        return ""


def _lost(directory: Path) -> CheckpointError:
    return CheckpointError(f"{directory} is no longer this worker's: the trial was given to another")
