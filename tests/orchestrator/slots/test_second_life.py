"""A broker whose process died, and the one that Ray starts in its place: all that is left is a file."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path

import pytest
from slot_of_test import Slot

from orchestrator.slots.broker import Broker
from orchestrator.slots.messages import CLOSE, Job, Update
from training.config import ModelConfig, TrialConfig
from training.evaluation.scores import Scores

TRIAL = TrialConfig.model_validate({"constraint": {"type": "procon"}, "learning_rate": 1e-3})


def job_of(number: int, model: str = "m") -> Job:
    return Job(f"{model}-{number}", ModelConfig(name=model, path="organism"), TRIAL, rungs=(2, 5))


def play(scene: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 10))  # type: ignore[arg-type]


async def working(log: Path, workers: int = 1) -> Slot:
    """A slot at work on the first job of a broker that writes to ``log``."""
    slot = Slot(Broker(1, log=log), workers=workers)
    await slot.broker.submit(job_of(0))
    await slot.start()
    await slot.take()
    return slot


def test_it_goes_on_where_the_other_was(tmp_path: Path) -> None:
    async def scene() -> None:
        log = tmp_path / "broker.jsonl"
        broker = Broker(2, log=log)
        slots = [Slot(broker, number) for number in range(2)]
        for number in range(4):
            await broker.submit(job_of(number))
        for slot in slots:
            await slot.start()
            await slot.take()
        inexact = Scores({"train/loss": 0.1, "x": 2.0}, {"x": (1, 2)}, {"x": float("inf")})
        await slots[0].say(Update("step", 1, inexact))
        await slots[1].say(Update("measured", 5), [{"answer": "yes"}])
        await broker.note(["the disk is full"])
        before = await broker.poll("m-0", 0, 0.0)

        broker = Broker(2, log=log)
        for slot in slots:
            slot.broker = broker
        assert await broker.poll("m-0", 0, 0.0) == before
        assert [update.kind for update in await broker.poll("m-1", 0, 0.0) or []] == ["measured"]
        assert await broker.answers("m-1") == [{"answer": "yes"}]
        assert (await broker.news(0)).notes == ["the disk is full"]
        assert not await slots[0].say(Update("step", 2)), "the slot still has its job"
        assert await slots[1].take() == job_of(2), "in the order in which they were submitted"
        assert await broker.submit(job_of(1)), "its end is not recorded yet"
        await broker.settle("m-1")
        await broker.drain(4)
        await broker.cancel_all()

        broker = Broker(2, log=log)
        slots[0].broker = broker
        assert not await broker.submit(job_of(1))
        assert await slots[0].say(Update("step", 3)), "everything was cancelled"
        assert [update.kind for update in await broker.poll("m-3", 0, 0.0) or []] == ["stopped"]
        await slots[0].say(Update("stopped", 3))
        assert await slots[0].take() == CLOSE

    play(scene())


def test_attempts_are_counted_on(tmp_path: Path) -> None:
    """So that a slot that was lost under the one broker is not believed by the other."""

    async def scene() -> None:
        log = tmp_path / "broker.jsonl"
        slot = await working(log)
        first = slot.given
        await slot.start()
        slot.broker = Broker(1, log=log)
        await slot.take()
        assert first is not None
        assert slot.given == replace(first, attempt=2)

    play(scene())


def test_workers_are_known_again_as_soon_as_they_are_heard(tmp_path: Path) -> None:
    async def scene() -> None:
        log = tmp_path / "broker.jsonl"
        slot = await working(log, workers=2)
        slot.broker = Broker(1, log=log)
        assert await slot.beat(0, 1) == [False, False]
        for rank in range(2):
            await slot.broker.here(0, slot.group, rank, 2, [rank])
        assert await slot.beat(0, 1) == [True, True]
        assert not await slot.say(Update("step", 1)), "they keep their job"
        assert (await slot.broker.news(0)).notes == []

    play(scene())


def test_workers_that_came_up_meanwhile_begin_the_job_again(tmp_path: Path) -> None:
    """Whichever of them is heard first: else what they say would pass for what their predecessors said."""

    async def scene() -> None:
        log = tmp_path / "broker.jsonl"
        slot = await working(log, workers=2)
        await slot.say(Update("step", 1))
        slot.broker = Broker(1, log=log)
        await slot.broker.here(0, "another", 1, 2, ["actor"])
        await slot.broker.slot_started(0, "another", 2)
        await slot.take()
        assert slot.given is not None
        assert slot.given.attempt == 2
        await slot.say(Update("step", 2))
        assert [one.step for one in await slot.broker.poll("m-0", 0, 0.0) or []] == [1, 2]

    play(scene())


def test_a_file_that_cannot_be_read_is_as_if_there_were_none(tmp_path: Path) -> None:
    async def scene() -> None:
        log = tmp_path / "broker.jsonl"
        log.write_text('["assign", "m-0", [0, "m-0"]]\nnot json\n')
        broker = Broker(1, log=log)
        assert "cannot be used" in (await broker.news(0)).notes[0]
        await broker.submit(job_of(0))
        assert await Slot(broker).take() == job_of(0)
        assert not log.exists()

    play(scene())


def test_a_line_that_was_cut_short_is_as_if_it_had_not_been(tmp_path: Path) -> None:
    async def scene() -> None:
        log = tmp_path / "broker.jsonl"
        broker = Broker(1, log=log)
        for number in range(2):
            await broker.submit(job_of(number))
        log.write_bytes(log.read_bytes()[:-7])
        broker = Broker(1, log=log)
        assert await broker.poll("m-0", 0, 0.0) == []
        assert await broker.poll("m-1", 0, 0.0) is None, "its trial submits it again"
        await broker.submit(job_of(1))
        assert await Broker(1, log=log).poll("m-1", 0, 0.0) == []

    play(scene())


def test_the_file_does_not_grow_with_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        monkeypatch.setattr("orchestrator.slots.log.COMPACT_BYTES", 20_000)
        log = tmp_path / "broker.jsonl"
        broker = Broker(1, log=log)
        slot = Slot(broker)
        await slot.start()
        await broker.submit(job_of(0, "unsound"))
        await slot.take()
        await slot.say(Update("failed", error="no", unprepared=True))
        await broker.settle("unsound-0")
        for number in range(100):
            await broker.submit(job_of(number))
            await slot.take()
            await slot.say(Update("measured", 5), [{"answer": "x" * 1000}])
            await broker.settle(f"m-{number}")
        assert log.stat().st_size < 50_000
        await broker.submit(job_of(100))
        slot.broker = Broker(1, log=log)
        assert await slot.take() == job_of(100)
        assert not await slot.broker.submit(job_of(3))
        await slot.broker.submit(job_of(1, "unsound"))
        (end,) = await slot.broker.poll("unsound-1", 0, 0.0) or []
        assert end.reason == "its model cannot be prepared"
        await slot.say(Update("measured"))
        await slot.broker.drain(103)
        assert await slot.take() == CLOSE, "all that were ever submitted count"

    play(scene())


def test_without_room_for_the_file_it_goes_on_and_a_successor_asks_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        log = tmp_path / "broker.jsonl"
        broker = Broker(1, log=log)
        slot = Slot(broker)
        await broker.submit(job_of(0))
        await slot.take()

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("orchestrator.slots.log.Log.append", full)
        await slot.say(Update("step", 1))
        assert [one.step for one in await broker.poll("m-0", 0, 0.0) or []] == [1]
        (note,) = (await broker.news(0)).notes
        assert "No space left on device" in note
        monkeypatch.undo()
        successor = Broker(1, log=log)
        assert await successor.poll("m-0", 1, 0.0) is None
        slot.broker = successor
        assert await slot.say(Update("step", 2)), "of a job that the broker does not know the slot lets go"
        await successor.submit(job_of(0))
        assert await slot.take() == job_of(0)

    play(scene())
