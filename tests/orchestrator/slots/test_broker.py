"""The broker as a plain object: the same code that runs as a Ray actor."""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import replace

import pytest
from slot_of_test import Slot

from orchestrator.slots.broker import Broker
from orchestrator.slots.ledger import MAX_ATTEMPTS
from orchestrator.slots.messages import CLOSE, Job, Update
from training.config import ModelConfig


def job_of(job_id: str, model: str = "m") -> Job:
    """One job with a model of its own, as every job that is unpickled has."""
    return Job(job_id, ModelConfig(name=model, path="organism"), None)


JOB, OTHER = job_of("m-0"), job_of("m-1")


def play(scene: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 10))  # type: ignore[arg-type]


def test_a_job_reaches_a_waiting_slot_at_once() -> None:
    async def scene() -> None:
        broker = Broker(slots=1)
        slots = [Slot(broker, number) for number in range(1)]
        waiting = asyncio.create_task(slots[0].take(5.0))
        await asyncio.sleep(0.05)
        begin = time.perf_counter()
        await broker.submit(JOB)
        assert await waiting == JOB
        assert time.perf_counter() - begin < 0.5

    play(scene())


def test_updates_arrive_in_order_and_once() -> None:
    async def scene() -> None:
        broker = Broker(slots=1)
        slots = [Slot(broker, number) for number in range(1)]
        await broker.submit(JOB)
        await slots[0].take(1.0)
        for step in (1, 2):
            assert not await slots[0].say(Update("step", step=step))
        assert [update.step for update in await broker.poll(JOB.id, 0, 1.0)] == [1, 2]
        await slots[0].say(Update("measured", step=2), [{"answer": "x"}])
        assert [update.kind for update in await broker.poll(JOB.id, 2, 1.0)] == ["measured"]
        for _ in range(2):  # a call may be repeated
            assert await broker.answers(JOB.id) == [{"answer": "x"}]
        await broker.settle(JOB.id)
        assert await broker.answers(JOB.id) == []

    play(scene())


def test_waiting_ends_with_nothing_after_the_timeout() -> None:
    async def scene() -> None:
        broker = Broker(slots=1)
        slots = [Slot(broker, number) for number in range(1)]
        assert await slots[0].take(0.05) is None

    play(scene())


def test_a_restarted_slot_gives_its_job_to_the_next_taker() -> None:
    async def scene() -> None:
        broker = Broker(slots=2)
        slots = [Slot(broker, number) for number in range(2)]
        await broker.submit(JOB)
        await broker.submit(OTHER)
        assert await slots[0].take(1.0) == JOB
        await slots[0].start()
        assert await slots[1].take(1.0) == JOB  # ahead of what has not begun yet
        assert await slots[0].take(1.0) == OTHER

    play(scene())


def test_a_job_that_keeps_killing_its_slot_fails() -> None:
    async def scene() -> None:
        broker = Broker(slots=1)
        slots = [Slot(broker, number) for number in range(1)]
        await broker.submit(JOB)
        for _ in range(MAX_ATTEMPTS):
            assert await slots[0].take(1.0) == JOB
            await slots[0].start()
        (update,) = await broker.poll(JOB.id, 0, 1.0)
        assert update.kind == "failed"
        assert f"{MAX_ATTEMPTS} times" in str(update.error)
        assert await slots[0].take(0.05) is None

    play(scene())


def test_a_job_that_gets_further_each_time_is_not_what_kills_its_slots() -> None:
    async def scene() -> None:
        broker = Broker(slots=1)
        slot = Slot(broker)
        await broker.submit(JOB)
        for step in range(1, 2 * MAX_ATTEMPTS):
            assert await slot.take() == JOB
            await slot.say(Update("step", step=step))
            await slot.start()
        for _ in range(MAX_ATTEMPTS - 1):
            assert await slot.take() == JOB
            await slot.say(Update("step", step=1))
            await slot.start()
        assert (await broker.poll(JOB.id, 0, 1.0))[-1].kind == "failed"

    play(scene())


def test_what_a_slot_says_of_a_job_that_was_taken_from_it_is_passed_over() -> None:
    async def scene() -> None:
        broker = Broker(slots=2)
        lost, other = Slot(broker, 0), Slot(broker, 1)
        await broker.submit(JOB)
        await lost.take()
        await lost.say(Update("step", step=1))
        await broker.slot_failed(0, "its worker 0 failed")
        assert await other.take() == JOB
        assert other.given is not None
        assert other.given.attempt == 2
        assert await lost.say(Update("step", step=2)), "it must stop"
        assert await lost.say(Update("measured", step=3), [{"answer": "of the lost"}])
        await lost.start()  # and its former worker still says something
        lost.number, lost.given = 1, replace(other.given, attempt=1)
        assert await lost.say(Update("measured", step=3)), "an earlier attempt on the very slot does not count either"
        await other.say(Update("step", step=2))
        await other.say(Update("measured", step=3), [{"answer": "mine"}])
        assert [(one.kind, one.step) for one in await broker.poll(JOB.id, 0, 1.0)] == [
            ("step", 1),
            ("step", 2),
            ("measured", 3),
        ]
        assert await broker.answers(JOB.id) == [{"answer": "mine"}]
        assert (await broker.news(0)).notes == [
            "slot 0: its worker 0 failed; m-0 goes to the next slot that is free",
            "slot 0 is back",
        ]

    play(scene())


def test_a_call_that_is_repeated_changes_nothing() -> None:
    """Ray repeats what was under way when the broker died, whether it had been carried out or not."""

    async def scene() -> None:
        broker = Broker(slots=2)
        slot = Slot(broker)
        for job in (JOB, OTHER):
            await broker.submit(job)
            await broker.submit(job)
        await slot.start()
        await broker.slot_started(0, slot.group, 1)
        assert await slot.beat(0) == [True]
        assert await slot.take() == JOB
        assert await slot.take() == JOB, "its answer was lost on the way"
        for _ in range(2):
            await broker.report(0, JOB.id, 1, 1, Update("step", step=1))
        for _ in range(2):
            await broker.report(0, JOB.id, 1, 2, Update("measured", step=2))
        assert [one.kind for one in await broker.poll(JOB.id, 0, 1.0)] == ["step", "measured"]
        await broker.slot_gone(1, "slot 1 failed")
        await broker.slot_gone(1, "slot 1 failed")
        assert (await broker.news(0)).notes == ["slot 1 failed"]

    play(scene())


def test_cancelling_everything_ends_what_waits_and_tells_what_runs_at_its_next_report() -> None:
    async def scene() -> None:
        broker = Broker(slots=1)
        slots = [Slot(broker, number) for number in range(1)]
        await broker.submit(JOB)
        await broker.submit(OTHER)
        await slots[0].take(1.0)
        await broker.cancel_all()
        assert [update.kind for update in await broker.poll(OTHER.id, 0, 1.0)] == ["stopped"]
        assert await slots[0].say(Update("step", step=1))

    play(scene())


def test_when_the_last_slot_is_lost_every_job_fails_with_the_reason() -> None:
    async def scene() -> None:
        broker = Broker(slots=2)
        slots = [Slot(broker, number) for number in range(2)]
        await broker.submit(JOB)
        await broker.submit(OTHER)
        await slots[0].take(1.0)
        await broker.slot_gone(1, "no import")
        assert await broker.poll(OTHER.id, 0, 0.05) == []
        await broker.slot_gone(0, "no import")
        for job in (JOB, OTHER):
            assert [update.error for update in await broker.poll(job.id, 0, 1.0)] == ["no import"]
        late = job_of("m-2")
        await broker.submit(late)
        assert [update.kind for update in await broker.poll(late.id, 0, 1.0)] == ["failed"]

    play(scene())


def test_nobody_is_watched_once_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.slots.broker.LOOK_SECONDS", 0.01)

    async def scene() -> None:
        broker = Broker(slots=1)
        watching = asyncio.create_task(broker.watch())
        await asyncio.sleep(0.05)
        assert not watching.done()
        await broker.close()
        await asyncio.wait_for(watching, 1.0)

    play(scene())


def test_slots_close_only_when_nothing_waits() -> None:
    async def scene() -> None:
        broker = Broker(slots=1)
        slots = [Slot(broker, number) for number in range(1)]
        await broker.submit(JOB)
        await broker.close()
        assert await slots[0].take(1.0) == JOB
        await slots[0].say(Update("measured"))
        assert await slots[0].take(1.0) == CLOSE

    play(scene())


def test_a_report_after_the_end_asks_to_stop() -> None:
    async def scene() -> None:
        broker = Broker(slots=1)
        slots = [Slot(broker, number) for number in range(1)]
        await broker.submit(JOB)
        await slots[0].take(1.0)
        await slots[0].say(Update("failed", error="x"))
        assert await slots[0].say(Update("step", step=3))

    play(scene())


@pytest.mark.parametrize(("kind", "final"), [("step", False), ("measured", True), ("failed", True), ("stopped", True)])
def test_only_a_step_is_not_final(kind: str, final: bool) -> None:
    assert Update(kind).final is final  # type: ignore[arg-type]


def test_a_trial_whose_actor_was_killed_finds_its_job_again() -> None:
    async def scene() -> None:
        broker = Broker(slots=2)
        slots = [Slot(broker, number) for number in range(2)]
        await broker.submit(JOB)
        assert await slots[0].take(1.0) == JOB
        await slots[0].say(Update("step", step=1))
        await broker.poll(JOB.id, 0, 1.0)
        assert await broker.submit(JOB)  # by the new actor
        assert await slots[1].take(0.05) is None, "the job must not run twice"
        assert [update.step for update in await broker.poll(JOB.id, 0, 1.0)] == [1]
        await slots[0].say(Update("measured", step=2))
        await broker.settle(JOB.id)
        assert not await broker.submit(JOB), "its end is recorded"
        assert await broker.poll(JOB.id, 0, 1.0) is None

    play(scene())


def test_a_rung_waits_for_its_verdict() -> None:
    async def scene() -> None:
        broker = Broker(slots=1)
        slots = [Slot(broker, number) for number in range(1)]
        for job in (JOB, OTHER):
            await broker.submit(job)
            await slots[0].take(1.0)
            reported = asyncio.create_task(slots[0].say(Update("rung", step=5)))
            await asyncio.sleep(0.05)
            assert not reported.done()
            await broker.verdict(job.id, 5, "dominated" if job is JOB else None)
            assert await reported is (job is JOB)
            await slots[0].say(Update("stopped" if job is JOB else "measured", step=5))
        ends = [(await broker.poll(job.id, 1, 1.0))[-1] for job in (JOB, OTHER)]
        assert [end.kind for end in ends] == ["pruned", "measured"]
        assert ends[0].reason == "dominated"

    play(scene())


def test_a_reference_waits_for_no_verdict_at_its_rungs() -> None:
    async def scene() -> None:
        broker = Broker(slots=1)
        slots = [Slot(broker, number) for number in range(1)]
        await broker.submit(replace(JOB, judged=False))
        await slots[0].take(1.0)
        async with asyncio.timeout(1):
            assert not await slots[0].say(Update("rung", step=5))
        await slots[0].say(Update("measured", step=9))
        assert [update.kind for update in await broker.poll(JOB.id, 0, 1.0)] == ["rung", "measured"]

    play(scene())


def test_a_rung_without_a_verdict_holds_nobody_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        monkeypatch.setattr("orchestrator.slots.broker.VERDICT_SECONDS", 0.05)
        broker = Broker(slots=1)
        slots = [Slot(broker, number) for number in range(1)]
        await broker.submit(JOB)
        await slots[0].take(1.0)
        assert not await slots[0].say(Update("rung", step=5))

    play(scene())


def test_idle_slots_end_only_when_every_job_has_been_submitted() -> None:
    async def scene() -> None:
        broker = Broker(slots=2)
        slots = [Slot(broker, number) for number in range(2)]
        await broker.drain(2)
        await broker.submit(JOB)
        assert await slots[0].take(1.0) == JOB
        assert await slots[1].take(0.05) is None, "the second job is still to come"
        await broker.submit(OTHER)
        assert await slots[1].take(1.0) == OTHER
        await slots[1].say(Update("measured"))
        assert await slots[1].take(1.0) == CLOSE
        await broker.slot_gone(1, "slot 1 ended")
        await slots[0].start()  # the worker of the last job died: it is not lost with the released slot
        assert await slots[0].take(1.0) == JOB

    play(scene())


def test_a_slot_keeps_to_the_model_it_has_loaded() -> None:
    async def scene() -> None:
        broker = Broker(slots=2)
        slots = [Slot(broker, number) for number in range(2)]
        jobs = [job_of(f"{model}-{n}", model) for n in range(2) for model in ("a", "b")]
        for job in jobs:
            await broker.submit(job)
        taken = []
        for number in (0, 1, 1, 0):
            job = await slots[number].take()
            assert isinstance(job, Job)
            taken.append(job.id)
            await slots[number].say(Update("measured"))
        assert taken == ["a-0", "b-0", "b-1", "a-1"]

    play(scene())


def test_a_model_that_cannot_be_prepared_costs_one_trial() -> None:
    async def scene() -> None:
        broker = Broker(slots=1)
        slots = [Slot(broker, number) for number in range(1)]
        sound = job_of("n-0", "n")
        for job in (JOB, OTHER, sound):
            await broker.submit(job)
        await slots[0].take(1.0)
        await slots[0].say(Update("failed", error="it refuses nothing", unprepared=True))
        (end,) = await broker.poll(OTHER.id, 0, 1.0)
        assert (end.kind, end.reason) == ("stopped", "its model cannot be prepared")
        assert await slots[0].take(1.0) == sound, "other models go on"
        late = job_of("m-2")
        await broker.submit(late)
        (end,) = await broker.poll(late.id, 0, 1.0)
        assert end.kind == "stopped"

    play(scene())
