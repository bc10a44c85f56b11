"""Which jobs wait, which slot has which, and what was said of each."""

from collections import deque
from dataclasses import replace
from typing import Any

from orchestrator.slots.messages import Assignment, Job, Update
from training.config import ModelConfig

MAX_ATTEMPTS = 3
"""How often in a row a job may lose its slot without getting further than before; then it is held to be the cause."""

MAX_STARVED = 2
"""How often a job may lose its slot because a machine had no memory left: it may have been another's fault once."""
STARVED_HELP = (
    "lower resources.max_concurrent or trial.micro_batch_size, take machines with more memory, or ask procon plan what "
    "would fit"
)

_GIVEN_UP = Update("stopped", reason="its model cannot be prepared")
"""What comes of a trial whose model another trial found unusable."""


class Ledger:
    """The broker's memory: no clock, no waiting, so that the same changes in the same order come to the same again.

    Args:
        slots: how many there are to be.
    """

    def __init__(self, slots: int) -> None:
        self._waiting: deque[Job] = deque()
        self._assigned: dict[int, Assignment] = {}
        self._said: dict[int, int] = {}
        """The number of the last update that each slot said of the job it has."""
        self._models: dict[int, ModelConfig] = {}
        self._attempts: dict[str, int] = {}
        self._losses: dict[str, int] = {}
        """How often in a row each job lost its slot without getting further."""
        self._starved: dict[str, int] = {}
        """How often each job lost its slot because a machine had no memory left."""
        self._at_most: dict[str, int] = {}
        """Samples at once that memory suffices for in training each model, by its name."""
        self._furthest: dict[str, int] = {}
        self._updates: dict[str, list[Update]] = {}
        self._answers: dict[str, list[dict[str, Any]]] = {}
        self._cancelled: set[str] = set()
        self._verdicts: dict[tuple[str, int], str | None] = {}
        self._pruned: dict[str, str] = {}
        self._ended: set[str] = set()
        self._settled: set[str] = set()
        self._noted: set[str] = set()
        self._made = slots
        self._slots = set(range(slots))
        """Those that are not gone for good."""
        self._lost: set[int] = set()
        """Those of them that are lost at the moment."""
        self._up: set[int] = set()
        """Those of them that have workers."""
        self._leaving: set[int] = set()
        """Those of them whose workers are on a node that has announced its end."""
        self.blind: dict[str, str] = {}
        """What is amiss with nodes that do not see the sweep's files, by their ids in Ray."""
        self._closed = self._stopping = False
        self._last: int | None = None
        self._over: str | None = None
        self._unprepared: list[ModelConfig] = []
        self.notes: list[str] = []
        """What people should know, in order."""

    # What others ask

    def knows(self, job_id: str) -> bool:
        """Whether the job was submitted, and its end is not settled."""
        return job_id in self._updates

    def is_settled(self, job_id: str) -> bool:
        """Whether the driver has recorded the job's end."""
        return job_id in self._settled

    def updates(self, job_id: str) -> list[Update]:
        """All updates of a job that is known."""
        return self._updates[job_id]

    def answers(self, job_id: str) -> list[dict[str, Any]]:
        """The answers of a measured job, until it is settled."""
        return self._answers.get(job_id, [])

    def has(self, slot: int) -> bool:
        """Whether the slot is not gone for good."""
        return slot in self._slots

    @property
    def held(self) -> dict[int, Assignment]:
        """What every slot that works has to do."""
        return dict(self._assigned)

    def held_by(self, slot: int) -> Assignment | None:
        """What the slot has to do."""
        return self._assigned.get(slot)

    def holds(self, slot: int, job_id: str, attempt: int) -> bool:
        """Whether what ``slot`` says of ``job_id`` counts: the job was not taken from it, nor given to it again."""
        held = self._assigned.get(slot)
        return held is not None and (held.job.id, held.attempt) == (job_id, attempt)

    def is_news(self, slot: int, number: int) -> bool:
        """Whether an update that counts is not one that was said already: a call may be repeated by Ray."""
        return number > self._said.get(slot, 0)

    def stops(self, job_id: str) -> bool:
        """Whether the job should stop."""
        return job_id not in self._updates or job_id in self._cancelled or job_id in self._pruned

    def is_judged(self, job_id: str, step: int) -> bool:
        """Whether the job need not wait at its rung any longer."""
        return (job_id, step) in self._verdicts or self.stops(job_id)

    def next_for(self, slot: int) -> Job | None:
        """Of the waiting jobs the oldest that needs the model that the slot has loaded, else the oldest."""
        fitting = (job for job in self._waiting if job.model == self._models.get(slot))
        return next(fitting, self._waiting[0]) if self._waiting else None

    @property
    def closed(self) -> bool:
        """Whether the sweep has no further use for its slots."""
        return self._closed

    @property
    def exhausted(self) -> bool:
        """Whether a slot that finds no job waiting will never be given one."""
        submitted = len(self._updates) + len(self._settled)
        return self._closed or (self._last is not None and submitted >= self._last)

    @property
    def last(self) -> int | None:
        """How many jobs there will be in all; None where that is not known yet."""
        return self._last

    @property
    def lost_slots(self) -> int:
        """How many slots are lost at the moment."""
        return len(self._lost)

    def is_lost(self, slot: int) -> bool:
        """Whether the slot can do nothing at the moment, so that who asks in its name is not of its next workers."""
        return slot in self._lost

    def leaves(self, slot: int) -> bool:
        """Whether a node of the slot's workers has announced its end."""
        return slot in self._leaving

    @property
    def slots_up(self) -> int:
        """How many slots have workers."""
        return len(self._up)

    @property
    def superfluous(self) -> list[int]:
        """Slots that wait for a place, though those that have one are enough for what is left."""
        if not self.exhausted:
            return []
        left = sum(job_id not in self._ended for job_id in self._updates)
        return sorted(self._slots - self._up)[max(0, left - len(self._up)) :]

    # What changes it

    def add_slots(self, slots: int) -> None:
        """There are to be so many in all."""
        self._slots.update(range(self._made, slots))
        self._made = max(self._made, slots)

    def see_blind(self, node: str, reason: str) -> None:
        """A node does not see what the sweep's workers need to see: none of them may be on it."""
        if node not in self.blind:
            self.blind[node] = reason
            self.note([f"{reason}; no trial is run there"])

    def submit(self, job: Job) -> None:
        """Queue a job that is not known."""
        self._updates[job.id] = []
        if self._stopping:
            self._end(job.id, Update("stopped"))
        elif self._over:
            self._end(job.id, Update("failed", error=self._over))
        elif job.model in self._unprepared:
            self._end(job.id, _GIVEN_UP)
        else:
            self._waiting.append(job)

    def assign(self, slot: int, job_id: str) -> Assignment:
        """Hand a waiting job out."""
        job = next(job for job in self._waiting if job.id == job_id)
        self._waiting.remove(job)
        self._models[slot] = job.model
        self._attempts[job_id] = self._attempts.get(job_id, 0) + 1
        self._said.pop(slot, None)
        self._assigned[slot] = Assignment(job, self._attempts[job_id], self._at_most.get(job.model.name))
        return self._assigned[slot]

    def report(self, slot: int, job_id: str, number: int, update: Update, answers: list[dict[str, Any]] | None) -> None:
        """Keep an update that counts and is news."""
        self._said[slot] = number
        if answers:
            self._answers[job_id] = answers
        if update.final:
            self._assigned.pop(slot)
            self._end(job_id, update)
            return
        self._updates[job_id].append(update)
        if update.step > self._furthest.get(job_id, 0):
            self._furthest[job_id] = update.step
            self._losses.pop(job_id, None)

    def lower(self, job_id: str, model: str, at_most: int, reason: str) -> None:
        """Memory does not suffice for the micro-batches of a job of ``model``: it may for ``at_most`` samples."""
        self._losses.pop(job_id, None)  # its workers may have to be started anew, and not by its fault
        if at_most < self._at_most.get(model, at_most + 1):
            self._at_most[model] = at_most
            sentence = (
                f"{job_id}: {reason}; it goes on from its last checkpoint, and later trials of {model} begin, with "
                f"micro-batches of {at_most}: the global batch stays, by accumulation"
            )
            self.note([sentence])

    def verdict(self, job_id: str, step: int, prune: str | None) -> None:
        """What becomes of a job at its rung: none lets it go on, a sentence ends it and says why."""
        self._verdicts[job_id, step] = prune

    def prune(self, job_id: str, reason: str) -> None:
        """The verdict was there in time."""
        self._pruned[job_id] = reason

    def verdict_on(self, job_id: str, step: int) -> str | None:
        """Why the job ends at its rung, if so."""
        return self._verdicts.get((job_id, step))

    def note(self, sentences: list[str]) -> None:
        """Keep what people should know, once however many slots say it."""
        for sentence in sentences:
            if sentence not in self._noted:
                self._noted.add(sentence)
                self.notes.append(sentence)

    def cancel_all(self) -> None:
        """Stop every job that has not ended, at its next report or before it starts, and those still submitted."""
        self._stopping = True
        self._cancelled.update(self._updates)
        for job in self._waiting:
            self._end(job.id, Update("stopped"))
        self._waiting.clear()

    def drain(self, jobs: int) -> None:
        """Nothing will be submitted beyond ``jobs`` in all."""
        self._last = jobs

    def close(self) -> None:
        """Nothing will be submitted."""
        self._closed = True

    def settle(self, job_id: str) -> None:
        """Forget a job whose end is recorded."""
        counts = (self._attempts, self._losses, self._starved, self._furthest)
        for known in (self._updates, self._answers, *counts, self._pruned):
            known.pop(job_id, None)
        self._ended.discard(job_id)
        self._cancelled.discard(job_id)
        self._verdicts = {rung: reason for rung, reason in self._verdicts.items() if rung[0] != job_id}
        self._settled.add(job_id)

    def slot_up(self, slot: int) -> None:
        """A slot's workers are there, for the first time or again."""
        if slot in self._assigned:
            self._take_back(slot, "its workers died", f"slot {slot}: its workers were started anew")
        self._leaving.discard(slot)
        if slot in self._slots:
            self._up.add(slot)
        if slot in self._lost:
            self._lost.discard(slot)
            self.notes.append(f"slot {slot} is back")

    def slot_leaves(self, slot: int, reason: str) -> None:
        """A node of the slot's workers has announced its end, which is no fault of the job that it has."""
        self._leaving.add(slot)
        held = self._assigned.get(slot)
        does = "no trial is lost" if held is None else f"{held.job.id} is saved and goes to the next slot that is free"
        self.notes.append(f"slot {slot}: {reason}; {does}")

    def slot_lost(self, slot: int, reason: str, starved: bool = False) -> None:
        """A slot can do nothing for now: another gets its job. ``starved``: its machine had no memory left."""
        if slot in self._slots and slot not in self._lost:
            self._lost.add(slot)
            self._up.discard(slot)
            self._take_back(slot, reason, f"slot {slot}: {reason}", starved=starved)

    def slot_closed(self, slot: int) -> None:
        """A slot was told that there is nothing more to do."""
        for those in (self._slots, self._lost, self._up, self._leaving):
            those.discard(slot)

    def slot_gone(self, slot: int, reason: str) -> None:
        """A slot is gone for good; when it was the last one, every job fails with ``reason``."""
        if slot not in self._slots:
            return
        self._take_back(slot, reason, reason)
        for those in (self._slots, self._lost, self._up):
            those.discard(slot)
        if not self._slots and not self._closed:
            self._over = reason
            for job_id in self._updates:
                if job_id not in self._ended:
                    self._end(job_id, Update("failed", error=reason))
            self._waiting.clear()

    def give_up(self, model: ModelConfig) -> None:
        """End what waits of a model that cannot be prepared; what other slots have of it meets the same fault there."""
        self._unprepared.append(model)
        for job in [job for job in self._waiting if job.model == model]:
            self._waiting.remove(job)
            self._end(job.id, _GIVEN_UP)

    def _take_back(self, slot: int, reason: str, note: str, *, starved: bool = False) -> None:
        held = self._assigned.pop(slot, None)
        announced = slot in self._leaving
        if held is not None and held.job.id not in self._ended:
            job = held.job
            self._losses[job.id] = self._losses.get(job.id, 0) + (not announced)
            self._starved[job.id] = self._starved.get(job.id, 0) + starved
            if self._starved[job.id] >= MAX_STARVED:
                self._end(job.id, Update("failed", error=f"{reason}, {MAX_STARVED} times: {STARVED_HELP}"))
            elif self._losses[job.id] >= MAX_ATTEMPTS:
                self._end(job.id, Update("failed", error=f"{reason}, {MAX_ATTEMPTS} times in a row"))
            elif job.id in self._cancelled:
                self._end(job.id, Update("stopped"))
            else:
                self._waiting.appendleft(job)
                note += f"; {job.id} goes to the next slot that is free"
        if not announced:  # then all was said
            self.notes.append(note)

    def _end(self, job_id: str, update: Update) -> None:
        if update.kind == "stopped" and job_id in self._pruned:
            update = replace(update, kind="pruned", reason=self._pruned[job_id])
        self._ended.add(job_id)
        self._updates[job_id].append(update)
