"""A slot as the broker sees it, in the broker's own process."""

from typing import Any

from orchestrator.slots.broker import Broker
from orchestrator.slots.messages import Assignment, Job, Update


class Slot:
    """Says and asks what a slot does, with the numbers that go with it."""

    def __init__(self, broker: Broker, number: int = 0, workers: int = 1) -> None:
        self.broker, self.number, self.workers = broker, number, workers
        self.given: Assignment | None = None
        self._said = 0
        self._groups = 0

    async def start(self) -> None:
        """Its workers come up, for the first time or again."""
        self._groups += 1
        await self.broker.slot_started(self.number, self.group, self.workers)
        for rank in range(self.workers):
            await self.broker.here(self.number, self.group, rank, self.workers, [(self.number, rank)])

    @property
    def group(self) -> str:
        return f"{self.number}-{self._groups}"

    async def take(self, timeout: float = 1.0) -> Job | str | None:
        """The next job."""
        found = await self.broker.next_job(self.number, timeout)
        if isinstance(found, Assignment):
            self.given, self._said = found, 0
            return found.job
        return found

    async def say(self, update: Update, answers: list[dict[str, Any]] | None = None) -> bool:
        """Report of the job that it took last."""
        assert self.given is not None
        self._said += 1
        return await self.broker.report(self.number, self.given.job.id, self.given.attempt, self._said, update, answers)

    async def beat(self, *ranks: int, work: int = 0) -> list[bool]:
        """Signs of life."""
        return [await self.broker.beat(self.number, self.group, rank, work) for rank in ranks]
