"""The actor between Tune trials, which ask for work, and warm slots, which do it."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

MAX_ATTEMPTS = 3
"""How often a job is handed out before it is held to be what kills its slot."""


@dataclass(frozen=True)
class Job:
    """One trial for a slot; plain data, so that it travels between processes."""

    id: str
    model: dict[str, Any]
    """A dumped ``ModelConfig``."""
    trial: dict[str, Any] | None
    """A dumped ``TrialConfig``; none measures the untouched model."""


@dataclass(frozen=True)
class Update:
    """What a slot says about a job."""

    kind: Literal["step", "measured", "failed", "stopped"]
    step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    error: str | None = None

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self.kind != "step"


CLOSE = "close"
"""Handed to a slot in place of a job when there is nothing more to do."""


class Broker:
    """Keeps jobs until a slot takes them and updates until a trial fetches them.

    An asyncio actor: waiting callers cost nothing, and a job reaches an idle slot within milliseconds.
    """

    def __init__(self, slots: int) -> None:
        self._waiting: deque[Job] = deque()
        self._assigned: dict[int, Job] = {}
        self._attempts: dict[str, int] = {}
        self._updates: dict[str, deque[Update]] = {}
        self._answers: dict[str, list[dict[str, Any]]] = {}
        self._cancelled: set[str] = set()
        self._ended: set[str] = set()
        self._alive = set(range(slots))
        self._closed = False
        self._lost: str | None = None
        self._changed = asyncio.Condition()

    async def submit(self, job: Job) -> None:
        """Queue ``job`` for the next idle slot."""
        async with self._changed:
            self._updates[job.id] = deque()
            if self._lost:
                self._end(job.id, Update("failed", error=self._lost))
            else:
                self._waiting.append(job)
            self._changed.notify_all()

    async def poll(self, job_id: str, timeout: float) -> list[Update]:
        """Updates of ``job_id`` since the last call; waits up to ``timeout`` seconds for one."""
        async with self._changed:
            await self._wait(lambda: bool(self._updates[job_id]), timeout)
            updates = list(self._updates[job_id])
            self._updates[job_id].clear()
            return updates

    async def take_answers(self, job_id: str) -> list[dict[str, Any]]:
        """The answers of a measured job, handed out once."""
        return self._answers.pop(job_id, [])

    async def cancel(self, job_id: str) -> None:
        """Stop ``job_id`` at its next report, or before it starts."""
        async with self._changed:
            self._cancel(job_id)
            self._changed.notify_all()

    async def cancel_all(self) -> None:
        """Stop every job that has not ended."""
        async with self._changed:
            for job_id in list(self._updates):
                self._cancel(job_id)
            self._changed.notify_all()

    async def close(self) -> None:
        """Let every slot end once it is idle."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def slot_started(self, slot: int) -> None:
        """A slot's worker group is up, for the first time or again after a failure: take back what it held."""
        async with self._changed:
            self._take_back(slot, "its worker died")
            self._changed.notify_all()

    async def slot_lost(self, slot: int, reason: str) -> None:
        """A slot is gone for good; when it was the last one, every job fails with ``reason``."""
        async with self._changed:
            self._alive.discard(slot)
            self._take_back(slot, reason)
            if not self._alive and not self._closed:
                self._lost = reason
                for job_id in [job_id for job_id in self._updates if job_id not in self._ended]:
                    self._end(job_id, Update("failed", error=reason))
                self._waiting.clear()
            self._changed.notify_all()

    async def next_job(self, slot: int, timeout: float) -> Job | str | None:
        """Work for ``slot``: a job, ``CLOSE``, or none when nothing came within ``timeout`` seconds."""
        async with self._changed:
            await self._wait(lambda: bool(self._waiting) or self._closed, timeout)
            if self._waiting:
                job = self._waiting.popleft()
                self._assigned[slot] = job
                self._attempts[job.id] = self._attempts.get(job.id, 0) + 1
                return job
            return CLOSE if self._closed else None

    async def report(self, slot: int, job_id: str, update: Update, answers: list[dict[str, Any]] | None = None) -> bool:
        """Pass on ``update``; true when the job should stop."""
        async with self._changed:
            if job_id in self._ended:
                return True
            if answers:
                self._answers[job_id] = answers
            if update.final:
                self._assigned.pop(slot, None)
                self._end(job_id, update)
            else:
                self._updates[job_id].append(update)
            self._changed.notify_all()
            return job_id in self._cancelled

    async def _wait(self, ready: Any, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait_for(ready)
        except TimeoutError:
            pass

    def _cancel(self, job_id: str) -> None:
        self._cancelled.add(job_id)
        waiting = [job for job in self._waiting if job.id == job_id]
        for job in waiting:
            self._waiting.remove(job)
            self._end(job.id, Update("stopped"))

    def _take_back(self, slot: int, reason: str) -> None:
        job = self._assigned.pop(slot, None)
        if job is None or job.id in self._ended:
            return
        if self._attempts[job.id] >= MAX_ATTEMPTS:
            self._end(job.id, Update("failed", error=f"{reason}, {MAX_ATTEMPTS} times in a row"))
        elif job.id in self._cancelled:
            self._end(job.id, Update("stopped"))
        else:
            self._waiting.appendleft(job)

    def _end(self, job_id: str, update: Update) -> None:
        self._ended.add(job_id)
        self._updates[job_id].append(update)
