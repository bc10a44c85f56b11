"""What a slot's ranks say of a job to the broker, and what they hear."""

from typing import Any

from orchestrator.slots.announced import notice
from orchestrator.slots.messages import Assignment, Update
from orchestrator.slots.setup import SlotSetup
from training.loop.claim import Claim

BEYOND = 1 << 60
"""The number of what is said in place of the first rank: nobody else knows how much that has said."""


class Line:
    """What the ranks of a slot have to say of one job; of all but the first nobody listens.

    Args:
        broker: handle of the broker actor.
        setup: the slot's.
        given: the job, and which attempt at it this is.
        speaks: whether what is said goes to the broker.
        group: which of the slot's groups of workers this is.
    """

    def __init__(self, broker: Any, setup: SlotSetup, given: Assignment, *, speaks: bool, group: str = "") -> None:
        self.speaks = speaks
        self._group = group
        self.workers = setup.workers
        """See :class:`SlotSetup`."""
        self.watched = setup.sight is not None
        """Whether nodes may announce their end: not the driver's own."""
        self.claim = Claim(setup.namespace, given.attempt)
        self._broker = broker
        self._who = setup.slot, given.job.id, given.attempt
        self._said = 0

    def say(self, update: Update, answers: list[dict[str, Any]] | None = None) -> bool:
        """Report; true where the job should stop."""
        import ray

        if not self.speaks:
            return False
        self._said += 1
        return bool(ray.get(self._broker.report.remote(*self._who, self._said, update, answers)))

    def fail(self, error: str) -> None:
        """Say that the job has failed, in place of a first rank which sees no more than a broken connection."""
        import ray

        ray.get(self._broker.report.remote(*self._who, BEYOND, Update("failed", error=error)))

    def lower(self, at_most: int, reason: str) -> None:
        """Say that memory ran out, and suffices for ``at_most`` samples at once if for any; any rank may say so."""
        import ray

        ray.get(self._broker.memory_ran_out.remote(*self._who, at_most, reason))

    def note(self, sentence: str) -> None:
        """Let people know."""
        import ray

        if self.speaks:
            ray.get(self._broker.note.remote([sentence]))

    def leaves(self) -> bool:
        """Whether a node of this slot will be taken away, which the broker is then told; asked after every step."""
        import ray

        told = notice()
        if told is not None:
            ray.get(self._broker.slot_leaves.remote(self._who[0], self._group, told.sentence()))
        return told is not None

    def does(self, what: str) -> None:
        """Say what takes its time; nobody waits for it."""
        if self.speaks and not what.startswith("WARNING"):  # which becomes a note
            self._broker.does.remote(self._who[1], what)
