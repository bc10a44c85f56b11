"""The actor between Tune trials, which ask for work, and warm slots, which do it."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.slots.ledger import Ledger
from orchestrator.slots.log import Log
from orchestrator.slots.messages import CLOSE, LEAVE, Assignment, Job, News, Update
from orchestrator.slots.signs import UNKNOWN, Signs
from orchestrator.slots.topics import Topics

VERDICT_SECONDS = 10.0
"""How long a trial waits at a rung for the verdict before it goes on without one."""
LOOK_SECONDS = 1.0
"""Between two looks whether a slot is lost."""
RESTARTS = 100
"""How often Ray may start the broker again after its process has died."""
UNREMEMBERED = "should its process die, trials under way go back to their last checkpoints"
WORK = "work"
"""The topic of slots that wait for a job."""
WITHDRAWAL_SECONDS = 10.0
"""How long taking back a request for nodes may take."""
CALLS = 10_000
"""Calls that may wait in it at once: of each slot one for work and one a worker, of each trial one for news."""


def start_broker(name: str, slots: int, silence: float, stall: float, log: Path) -> Any:
    """The broker as an actor of this process's own node, on which it is started again when its process dies.

    Ray then repeats the calls that were under way, so that whoever waits for an answer goes on waiting; each of them
    may therefore be carried out twice.

    Args:
        name: by which trials and slots find it.
        slots: as for :class:`Broker`, like the three that follow.
        silence: likewise.
        stall: likewise.
        log: likewise.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    actor = ray.remote(num_cpus=0)(Broker).options(
        name=name,
        max_concurrency=CALLS,
        max_restarts=RESTARTS,
        max_task_retries=-1,
        scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
    )
    broker = actor.remote(slots, silence, stall, log)
    broker.watch.remote()
    return broker


class Broker:
    """Keeps jobs until a slot takes them and updates until a trial fetches them, and takes jobs from slots it has lost.

    An asyncio actor: waiting callers cost nothing, and a job reaches an idle slot within milliseconds.

    Args:
        slots: how many there are to be.
        silence: see :class:`~orchestrator.slots.signs.Signs`.
        stall: likewise.
        log: file that lets a successor know all that this one knew; None where there will be none. What is in it
            already was known to a predecessor.
        kill: ends a worker, given its actor; None lets Ray do it.
        withdraw: takes a request for nodes back; likewise.
    """

    def __init__(
        self,
        slots: int,
        silence: float = 60.0,
        stall: float = 1800.0,
        log: Path | None = None,
        kill: Callable[[Any], None] | None = None,
        withdraw: Callable[[str], None] | None = None,
    ) -> None:
        self._ledger = Ledger(slots)
        self._signs = Signs(silence, stall)
        self._kill = kill or _kill
        self._withdraw = withdraw or _withdraw
        self._workers: dict[int, dict[int, Any]] = {}
        """Actors of each slot's workers, by rank."""
        self._controllers: dict[int, tuple[Any, str]] = {}
        """The actors that find places for each slot's workers, and what they call their requests for nodes."""
        self._doing: dict[str, str] = {}
        self._topics = Topics()
        self._log: Log | None = None
        if log is not None:
            self._remember(log, slots)

    # What trials ask

    async def submit(self, job: Job) -> bool:
        """Queue ``job`` for the next idle slot; one that is known already, because its trial's actor died, goes on.

        Returns:
            Whether there is anything to wait for: not where the end of the job is recorded.
        """
        if self._ledger.is_settled(job.id):
            return False
        if not self._ledger.knows(job.id):
            self._change("submit", job, job=job.id)
            self._topics.tell(WORK)
        return True

    async def poll(self, job_id: str, seen: int, timeout: float) -> list[Update] | None:
        """Updates of ``job_id`` after the first ``seen``; waits up to ``timeout`` seconds for one.

        None where the job is not known: its end is recorded, or the broker has lost its memory.
        """
        ledger = self._ledger
        await self._topics.until(
            lambda: not ledger.knows(job_id) or len(ledger.updates(job_id)) > seen, ("updates", job_id), timeout
        )
        return ledger.updates(job_id)[seen:] if ledger.knows(job_id) else None

    async def verdict(self, job_id: str, step: int, prune: str | None) -> None:
        """What becomes of ``job_id`` at its rung: none lets it go on, a sentence ends it and says why."""
        if self._ledger.knows(job_id):
            self._change("verdict", job_id, step, prune, job=job_id)
            self._topics.tell(("verdict", job_id))

    # What the driver asks

    async def answers(self, job_id: str) -> list[dict[str, Any]]:
        """The answers of a measured job that is not settled yet."""
        return self._ledger.answers(job_id)

    async def settle(self, job_id: str) -> None:
        """The end of ``job_id`` is recorded, and nobody will ask for it any more."""
        if not self._ledger.is_settled(job_id):
            self._change("settle", job_id)
            self._compact()
            self._topics.tell(("updates", job_id))

    async def news(self, seen: int) -> News:
        """Notes after the first ``seen``, and what slots began to do since the last call."""
        doing, self._doing = self._doing, {}
        return News(self._ledger.notes[seen:], doing, self._ledger.lost_slots, self._ledger.slots_up)

    async def add_slots(self, slots: int) -> None:
        """There are to be so many in all, since nodes have joined."""
        self._change("add_slots", slots)

    async def see_blind(self, node: str, reason: str) -> None:
        """A node, by its id in Ray, does not see the sweep's files; ``reason`` says so in a sentence."""
        self._change("see_blind", node, reason)

    async def cancel_all(self) -> None:
        """Stop every job that has not ended, at its next report or before it starts, and those still submitted."""
        self._change("cancel_all")
        self._topics.tell_all()

    async def drain(self, jobs: int) -> None:
        """Nothing will be submitted beyond ``jobs`` in all: a slot that finds no work then frees its resources."""
        if jobs != self._ledger.last:
            self._change("drain", jobs)
            self._topics.tell(WORK)

    async def close(self) -> None:
        """Let every slot end once it is idle."""
        self._change("close")
        self._topics.tell(WORK)
        await self._retire()

    async def slot_gone(self, slot: int, reason: str) -> None:
        """A slot is gone for good; when it was the last one, every job fails with ``reason``."""
        self._signs.gone(slot)
        self._change("slot_gone", slot, reason)
        self._topics.tell_all()

    async def slot_failed(self, slot: int, reason: str, starved: bool = False) -> bool:
        """A slot's workers have failed, and Ray Train will start others: another slot may have its job meanwhile.

        Args:
            slot: which.
            reason: a clause.
            starved: whether their machine had no memory left.

        Returns:
            Whether there is anything for the slot to do.
        """
        self._signs.gone(slot)
        self._change("slot_lost", slot, reason, starved)
        self._topics.tell_all()
        return self._ledger.has(slot) and not self._ledger.exhausted

    async def slot_leaves(self, slot: int, group: str, reason: str) -> None:
        """A node of the slot's present workers has announced its end; each of them may say so, and again and again."""
        if self._signs.knows(slot, group) and self._ledger.has(slot) and not self._ledger.leaves(slot):
            self._change("slot_leaves", slot, reason)
            self._topics.tell(WORK)

    async def memory_ran_out(self, slot: int, job_id: str, attempt: int, at_most: int, reason: str) -> None:
        """A worker has no memory for its job's micro-batches: its model is trained with ``at_most`` samples now."""
        if self._ledger.holds(slot, job_id, attempt):
            self._change("lower", job_id, self._ledger.held[slot].job.model.name, at_most, reason)

    async def watch(self) -> None:
        """Take jobs from slots that are lost, until the sweep has no further use for them.

        Ray complains on the screen about a call that is under way when it ends.
        """
        while not self._ledger.closed:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Take jobs from slots that are lost now, and have their workers started anew where that can be done."""
        for slot, reason in self._signs.overdue().items():
            self._change("slot_lost", slot, reason)
            for actor in self._workers.pop(slot, {}).values():
                with contextlib.suppress(Exception):  # one that has stopped is ended; one that is cut off cannot be
                    await asyncio.to_thread(self._kill, actor)
            self._topics.tell_all()
        await self._retire()

    # What slots ask

    async def controlled(self, slot: int, actor: list[Any], request: str) -> list[str]:
        """On which nodes the workers of ``slot`` have no place, by id; asked each time before one is looked for.

        Args:
            slot: which.
            actor: holds the one that looks for it.
            request: what it calls its request for nodes.
        """
        self._controllers[slot] = actor[0], request
        if not self._ledger.has(slot):  # it was not needed any more before it came up
            await self._end_controller(slot)
        return list(self._ledger.blind)

    async def slot_started(self, slot: int, group: str, workers: int) -> None:
        """A slot's ``workers`` are up, for the first time or again after a failure: take back what those before had.

        The slot asks for work only once this is answered.
        """
        if self._signs.knows(slot, group):  # another of them was heard first
            self._change("slot_up", slot)
            self._topics.tell_all()
        else:
            self._up(slot, group, workers)

    async def here(self, slot: int, group: str, rank: int, workers: int, actor: list[Any]) -> None:
        """A worker that :meth:`beat` did not know makes itself known; ``actor`` holds the one it is."""
        if self._signs.is_of_another(slot, group) or not self._ledger.has(slot):
            return
        if not self._signs.knows(slot, group):
            if self._ledger.held_by(slot) is None:  # it was held to be lost, and is back
                self._up(slot, group, workers)
            else:
                self._signs.up(slot, group, workers)
                self._signs.begins(slot)
        self._workers.setdefault(slot, {})[rank] = actor[0]

    async def beat(self, slot: int, group: str, rank: int, work: int) -> bool:
        """A worker's sign of life, with a number that changes as it does its work; false where it is not known."""
        if not self._signs.knows(slot, group) or rank not in self._workers.get(slot, {}):
            return False
        self._signs.beat(slot, group, rank, work)
        return True

    async def next_job(self, slot: int, timeout: float) -> Assignment | str | None:
        """Work for ``slot``: a job, ``CLOSE``, ``LEAVE``, or None when nothing came within ``timeout`` seconds.

        Of the waiting jobs it gets the oldest that needs the model it has loaded, else the oldest; where it asks again
        though it has one, its answer was lost on the way.
        """
        ledger = self._ledger
        self._signs.heard(slot)
        if (held := ledger.held_by(slot)) is not None:
            return held
        if not ledger.has(slot):
            return CLOSE
        await self._topics.until(
            lambda: (
                not ledger.is_lost(slot)
                and (ledger.next_for(slot) is not None or ledger.exhausted or ledger.leaves(slot))
            ),
            WORK,
            timeout,
        )
        if ledger.is_lost(slot):  # a worker of a node that is dead for Ray may live on for seconds
            return None
        if ledger.leaves(slot) and not ledger.exhausted:
            return LEAVE
        if (job := ledger.next_for(slot)) is not None:
            self._signs.begins(slot)
            assignment: Assignment = self._change("assign", slot, job.id, job=job.id)
            return assignment
        if ledger.exhausted:
            self._signs.gone(slot)
            self._change("slot_closed", slot)
            return CLOSE
        return None

    async def report(
        self,
        slot: int,
        job_id: str,
        attempt: int,
        number: int,
        update: Update,
        answers: list[dict[str, Any]] | None = None,
    ) -> bool:
        """Pass on ``update``; true when the job should stop. After a rung it answers when the verdict is there.

        Args:
            slot: that says it.
            job_id: of which job.
            attempt: of :class:`~orchestrator.slots.messages.Assignment`; of an earlier one nothing is passed on.
            number: of the update among those of the attempt, from 1.
            update: what happened.
            answers: of a measured job.
        """
        ledger = self._ledger
        if not ledger.holds(slot, job_id, attempt):
            return True
        self._signs.heard(slot)
        job = ledger.held[slot].job
        if ledger.is_news(slot, number):
            if update.final:
                self._signs.ends(slot)
            self._change("report", slot, job_id, number, update, answers, job=job_id)
            self._topics.tell(("updates", job_id))
            if update.unprepared:
                self._change("give_up", job.model)
                self._topics.tell_all()
        if update.kind == "rung" and job.judged:
            await self._judge(job_id, update.step)
        return ledger.stops(job_id) or not ledger.holds(slot, job_id, attempt)

    async def note(self, sentences: list[str]) -> None:
        """Keep what a slot wants people to know, once however many slots say it."""
        self._change("note", sentences)

    async def does(self, job_id: str, what: str) -> None:
        """Keep what a slot does for ``job_id`` before its first report, such as loading the model."""
        self._doing[job_id] = what

    # How it is done

    async def _retire(self) -> None:
        """End slots that still wait for a place and are not needed, so that no node is brought for them."""
        for slot in self._ledger.superfluous:
            self._change("slot_closed", slot)
            await self._end_controller(slot)

    async def _end_controller(self, slot: int) -> None:
        if (controller := self._controllers.pop(slot, None)) is not None:
            with contextlib.suppress(Exception):
                await asyncio.to_thread(self._kill, controller[0])
            with contextlib.suppress(Exception):
                await asyncio.to_thread(self._withdraw, controller[1])

    def _up(self, slot: int, group: str, workers: int) -> None:
        self._workers.pop(slot, None)
        self._signs.up(slot, group, workers)
        self._change("slot_up", slot)
        self._topics.tell_all()

    async def _judge(self, job_id: str, step: int) -> None:
        await self._topics.until(lambda: self._ledger.is_judged(job_id, step), ("verdict", job_id), VERDICT_SECONDS)
        reason = self._ledger.verdict_on(job_id, step)
        if reason is not None and self._ledger.knows(job_id):
            self._change("prune", job_id, reason, job=job_id)

    def _change(self, name: str, *arguments: Any, job: str | None = None) -> Any:
        """Carry a change of the ledger out and write it down; ``job`` is what it can be forgotten with."""
        result = getattr(self._ledger, name)(*arguments)
        if self._log is not None:
            try:
                self._log.append(name, arguments, job)
            except OSError as error:
                self._forgo(error)
        return result

    def _compact(self) -> None:
        if self._log is not None:
            try:
                self._log.compact(self._ledger.is_settled)
            except OSError as error:
                self._forgo(error)

    def _forgo(self, error: Exception) -> None:
        """Go on without a log: a successor that knows half of it would be worse than one that asks trials anew."""
        assert self._log is not None
        self._log.remove()
        self._log = None
        self._ledger.note([f"the broker's own log is given up ({error}): {UNREMEMBERED}"])

    def _remember(self, path: Path, slots: int) -> None:
        """Take in what a predecessor knew."""
        try:
            self._log = Log(path)
            for name, arguments in self._log.lines():
                getattr(self._ledger, name)(*arguments)
        except Exception as error:  # whatever is in the file, trials can be asked anew
            self._ledger = Ledger(slots)
            self._ledger.note(
                [f"the broker's own log cannot be used ({error}): should its process die, trials start over"]
            )
            if self._log is not None:
                self._log.remove()
                self._log = None
        for slot, held in self._ledger.held.items():  # their workers are to be heard of soon
            self._signs.up(slot, UNKNOWN, 1)
            self._signs.begins(slot)
            self._doing[held.job.id] = "going on after a restart of the broker"


def _withdraw(request: str) -> None:
    """Ray Train's actor that asks the autoscaler for nodes would go on for three minutes, and keep nodes so long."""
    import ray

    asks = ray.get_actor("AutoscalingCoordinator", namespace="AutoscalingCoordinator")
    ray.get(asks.cancel_request.remote(request), timeout=WITHDRAWAL_SECONDS)


def _kill(actor: Any) -> None:
    import ray

    ray.kill(actor)
