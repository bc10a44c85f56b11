"""When a slot is lost, by a clock that the test moves; and what becomes of its job."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from slot_of_test import Slot

from orchestrator.slots.broker import Broker
from orchestrator.slots.messages import Job, Update
from orchestrator.slots.signs import FACTOR, Signs
from training.config import ModelConfig

SILENCE, STALL = 60.0, 600.0
JOB = Job("m-0", ModelConfig(name="m", path="organism"), None)


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Two:
    """One slot of two workers, looked at every second."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.signs = Signs(SILENCE, STALL, self.clock)
        self.signs.up(0, "g", 2)
        self.work = [0, 0]

    def go(self, seconds: int, *beating: int, working: bool = True) -> tuple[int, str] | None:
        """Let seconds pass in which some workers beat; when and why the slot was lost."""
        for second in range(1, seconds + 1):
            self.clock.now += 1
            for rank in beating:
                self.work[rank] += working
                self.signs.beat(0, "g", rank, self.work[rank])
            found = self.signs.overdue()
            if found:
                return second, found[0]
        return None


@pytest.fixture
def two() -> Two:
    return Two()


def test_a_silent_worker_loses_its_slot_after_the_bound(two: Two) -> None:
    assert two.go(1000, 0, 1) is None
    when, why = two.go(1000, 0) or (0, "")
    assert SILENCE < when <= SILENCE + 3
    assert why.startswith("no sign of life of its worker 1 for 6")
    assert two.signs.overdue() == {}, "told once"


def test_who_has_been_silent_for_long_may_be_so_again(two: Two) -> None:
    two.go(5, 0, 1)
    assert two.go(50, 0) is None
    assert two.go(5, 0, 1) is None
    when, _ = two.go(1000, 0) or (0, "")
    assert SILENCE + 50 <= when <= SILENCE + 55


def test_workers_that_live_but_do_not_get_on_lose_their_slot(two: Two) -> None:
    two.signs.begins(0)
    assert two.go(100, 0, 1) is None
    when, why = two.go(5000, 0, 1, working=False) or (0, "")
    assert STALL <= when <= STALL + 3
    assert why.startswith("its workers have not got on for 60")


def test_one_worker_that_gets_on_is_enough(two: Two) -> None:
    """While the first asks judges, the others wait for it in a collective."""
    two.signs.begins(0)
    for _ in range(20):
        assert two.go(200, 0, 1, working=False) is None
        two.go(1, 0)


def test_what_took_long_before_may_take_a_multiple_of_it(two: Two) -> None:
    two.signs.begins(0)
    two.go(1, 0, 1)
    assert two.go(500, 0, 1, working=False) is None
    two.go(1, 0, 1)
    when, _ = two.go(5000, 0, 1, working=False) or (0, "")
    assert FACTOR * 500 <= when <= FACTOR * 505


def test_a_slot_without_a_job_need_not_get_on(two: Two) -> None:
    assert two.go(5000, 0, 1, working=False) is None
    two.signs.begins(0)
    assert two.go(500, 0, 1, working=False) is None
    two.signs.ends(0)
    assert two.go(5000, 0, 1, working=False) is None


def test_a_broker_that_stood_still_itself_holds_nobody_to_be_silent(two: Two) -> None:
    two.signs.begins(0)
    two.go(3, 0, 1)
    two.clock.now += 5000
    assert two.signs.overdue() == {}
    assert two.go(30, 0, 1, working=False) is None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("orchestrator.slots.broker.Signs", lambda silence, stall: Signs(silence, stall, clock))
    return clock


async def silence(broker: Broker, clock: Clock, seconds: int, *heard: Slot) -> None:
    for _ in range(seconds):
        clock.now += 1
        for slot in heard:
            await slot.beat(*range(slot.workers))
        await broker.look()


def play(scene: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 10))  # type: ignore[arg-type]


def test_the_job_of_a_lost_slot_goes_to_another_and_its_workers_are_ended(clock: Clock) -> None:
    killed: list[Any] = []

    async def scene() -> None:
        broker = Broker(2, SILENCE, STALL, kill=killed.append)
        lost, other = Slot(broker, 0, workers=2), Slot(broker, 1, workers=2)
        await lost.start()
        await other.start()
        await broker.submit(JOB)
        assert await lost.take() == JOB
        await silence(broker, clock, 30, lost, other)
        assert (await broker.news(0)).lost == 0
        await silence(broker, clock, 65, other)
        assert killed == [(0, 0), (0, 1)]
        news = await broker.news(0)
        assert news.lost == 1
        assert "no sign of life of its worker 0" in news.notes[0]
        assert await other.take() == JOB
        assert await lost.say(Update("measured")), "too late"
        assert await lost.beat(0, 1) == [False, False]
        await broker.here(0, lost.group, 0, 2, [(0, 0)])  # the machine was only cut off
        news = await broker.news(1)
        assert (news.notes, news.lost) == (["slot 0 is back"], 0)

    play(scene())


def test_a_worker_that_was_replaced_does_not_count_as_one(clock: Clock) -> None:
    async def scene() -> None:
        broker = Broker(1, SILENCE, STALL, kill=lambda _actor: None)
        slot = Slot(broker)
        await slot.start()
        before = slot.group
        await slot.start()
        await broker.here(0, before, 0, 1, ["old"])
        assert not await broker.beat(0, before, 0, 5)
        await silence(broker, clock, 100, slot)
        assert (await broker.news(0)).notes == []

    play(scene())
