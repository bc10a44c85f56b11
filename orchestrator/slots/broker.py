"""The actor between Tune trials, which ask for work, and warm slots, which do it."""

import asyncio
from collections import deque
from dataclasses import replace
from typing import Any

from orchestrator.slots.messages import CLOSE, Job, Update
from training.config import ModelConfig

MAX_ATTEMPTS = 3
"""How often a job is handed out before it is held to be what kills its slot."""
VERDICT_SECONDS = 10.0
"""How long a trial waits at a rung for the verdict before it goes on without one."""

_GIVEN_UP = Update("stopped", reason="its model cannot be prepared")
"""What comes of a trial whose model another trial found unusable."""


class Broker:
    """Keeps jobs until a slot takes them and updates until a trial fetches them.

    An asyncio actor: waiting callers cost nothing, and a job reaches an idle slot within milliseconds.
    """

    def __init__(self, slots: int) -> None:
        self._waiting: deque[Job] = deque()
        self._assigned: dict[int, Job] = {}
        self._models: dict[int, ModelConfig] = {}
        self._attempts: dict[str, int] = {}
        self._updates: dict[str, list[Update]] = {}
        self._answers: dict[str, list[dict[str, Any]]] = {}
        self._cancelled: set[str] = set()
        self._verdicts: dict[tuple[str, int], str | None] = {}
        self._pruned: dict[str, str] = {}
        self._ended: set[str] = set()
        self._notes: list[str] = []
        self._noted: set[str] = set()
        self._doing: dict[str, str] = {}
        self._alive = set(range(slots))
        self._last: int | None = None
        self._closed = self._stopping = False
        self._lost: str | None = None
        self._unprepared: list[ModelConfig] = []
        self._changed = asyncio.Condition()

    async def submit(self, job: Job) -> None:
        """Queue ``job`` for the next idle slot; one that is known already, because its trial's actor died, goes on."""
        async with self._changed:
            if job.id in self._updates:
                return
            self._updates[job.id] = []
            if self._stopping:
                self._end(job.id, Update("stopped"))
            elif self._lost:
                self._end(job.id, Update("failed", error=self._lost))
            elif job.model in self._unprepared:
                self._end(job.id, _GIVEN_UP)
            else:
                self._waiting.append(job)
            self._changed.notify_all()

    async def poll(self, job_id: str, seen: int, timeout: float) -> list[Update]:
        """Updates of ``job_id`` after the first ``seen``; waits up to ``timeout`` seconds for one."""
        async with self._changed:
            await self._wait(lambda: len(self._updates[job_id]) > seen, timeout)
            return self._updates[job_id][seen:]

    async def take_answers(self, job_id: str) -> list[dict[str, Any]]:
        """The answers of a measured job, handed out once."""
        return self._answers.pop(job_id, [])

    async def note(self, sentences: list[str]) -> None:
        """Keep what a slot wants people to know, once however many slots say it."""
        self._notes += [sentence for sentence in sentences if sentence not in self._noted]
        self._noted.update(sentences)

    async def take_notes(self) -> list[str]:
        """What slots noted since the last call."""
        notes, self._notes = self._notes, []
        return notes

    async def does(self, job_id: str, what: str) -> None:
        """Keep what a slot does for ``job_id`` before its first report, such as loading the model."""
        self._doing[job_id] = what

    async def take_doing(self) -> dict[str, str]:
        """What slots began to do since the last call, by job."""
        doing, self._doing = self._doing, {}
        return doing

    async def cancel_all(self) -> None:
        """Stop every job that has not ended, at its next report or before it starts, and those still submitted."""
        async with self._changed:
            self._stopping = True
            for job_id in list(self._updates):
                self._cancel(job_id)
            self._changed.notify_all()

    async def verdict(self, job_id: str, step: int, prune: str | None) -> None:
        """What becomes of ``job_id`` at its rung: none lets it go on, a sentence ends it and says why."""
        async with self._changed:
            self._verdicts[job_id, step] = prune
            self._changed.notify_all()

    async def drain(self, jobs: int) -> None:
        """Nothing will be submitted beyond ``jobs`` in all: a slot that finds no work then frees its resources."""
        async with self._changed:
            self._last = jobs
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
        """Work for ``slot``: a job, ``CLOSE``, or None when nothing came within ``timeout`` seconds.

        Of the waiting jobs it gets the oldest that needs the model it has loaded, else the oldest.
        """
        async with self._changed:
            await self._wait(lambda: bool(self._waiting) or self._over, timeout)
            if self._waiting:
                job = next((job for job in self._waiting if job.model == self._models.get(slot)), self._waiting[0])
                self._waiting.remove(job)
                self._models[slot] = job.model
                self._assigned[slot] = job
                self._attempts[job.id] = self._attempts.get(job.id, 0) + 1
                return job
            if self._over:
                self._alive.discard(slot)
                return CLOSE
            return None

    @property
    def _over(self) -> bool:
        """Whether no slot will be given anything any more."""
        return self._closed or (self._last is not None and len(self._updates) >= self._last)

    async def report(self, slot: int, job_id: str, update: Update, answers: list[dict[str, Any]] | None = None) -> bool:
        """Pass on ``update``; true when the job should stop. After a rung it answers when the verdict is there."""
        async with self._changed:
            if job_id in self._ended:
                return True
            if answers:
                self._answers[job_id] = answers
            if update.final:
                job = self._assigned.pop(slot, None)
                self._end(job_id, update)
                if update.unprepared and job is not None:
                    self._give_up(job.model)
            else:
                self._updates[job_id].append(update)
            self._changed.notify_all()
            if update.kind == "rung" and self._assigned[slot].judged:
                await self._judge(job_id, update.step)
            return job_id in self._cancelled or job_id in self._pruned

    async def _judge(self, job_id: str, step: int) -> None:
        rung = (job_id, step)
        await self._wait(lambda: rung in self._verdicts or job_id in self._cancelled, VERDICT_SECONDS)
        reason = self._verdicts.get(rung)
        if reason is not None:
            self._pruned[job_id] = reason

    async def _wait(self, ready: Any, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait_for(ready)
        except TimeoutError:
            pass

    def _give_up(self, model: ModelConfig) -> None:
        """End what waits of a model that cannot be prepared; what other slots have of it meets the same fault there."""
        self._unprepared.append(model)
        for job in [job for job in self._waiting if job.model == model]:
            self._waiting.remove(job)
            self._end(job.id, _GIVEN_UP)

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
        if update.kind == "stopped" and job_id in self._pruned:
            update = replace(update, kind="pruned", reason=self._pruned[job_id])
        self._ended.add(job_id)
        self._updates[job_id].append(update)
