"""Where a job begins: at its first step, or where another one has been."""

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.slots.line import Line
from orchestrator.slots.messages import Job, Update

if TYPE_CHECKING:
    from training.loop.forks import Forking


class Begin:
    """Where a job begins, and what is said of it then.

    Args:
        job: which.
        line: to the broker.
    """

    def __init__(self, job: Job, line: Line) -> None:
        self.step = 0
        """Optimizer steps that another job did for it."""
        self._job = job
        self._line = line

    def forking(self, folder: Path) -> "Forking":
        """What the job shares with others, whose fork points are below ``folder``."""
        from training.loop.forks import Fork, Forking

        job, start = self._job, None
        if job.fork is not None:
            start = Fork(folder / job.fork.trial, job.fork.step, self._begins)
        return Forking(frozenset(job.keeps), folder / job.id if job.keeps else None, start)

    def _begins(self, fault: str | None) -> None:
        job, fork = self._job, self._job.fork
        assert fork is not None
        if fault is not None:
            self._line.note(
                f"{job.id} begins at its first step: the checkpoint of {fork.trial} after step {fork.step} cannot be "
                f"used ({fault})"
            )
            return
        self.step = fork.step
        self._line.say(Update("forked", fork.step))
        for update in fork.updates:  # one that is pruned by them ends with its next report
            self._line.say(update)
