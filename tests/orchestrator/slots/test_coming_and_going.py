"""Slots whose nodes come and go, as the broker sees them; and what an autoscaler may bring."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path

import psutil
import pytest
from slot_of_test import Slot

from orchestrator.errors import ClusterError
from orchestrator.slots.autoscaler import nodes_to_come
from orchestrator.slots.broker import Broker
from orchestrator.slots.cluster import Room, room_for
from orchestrator.slots.ledger import MAX_ATTEMPTS
from orchestrator.slots.messages import CLOSE, LEAVE, Job, Update
from sweeps.schema.resources import ResourcesConfig
from training.config import ModelConfig

JOB = Job("m-0", ModelConfig(name="m", path="organism"), None)


def play(scene: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 10))  # type: ignore[arg-type]


def test_an_announced_end_is_no_strike_and_is_said_once() -> None:
    async def scene() -> None:
        broker = Broker(1)
        slot = Slot(broker)
        await broker.submit(JOB)
        for _ in range(2 * MAX_ATTEMPTS):
            await slot.start()
            assert await slot.take() == JOB
            for _ in range(2):  # by each rank, again and again
                await broker.slot_leaves(0, slot.group, "node n will be taken away in 30 s")
            await broker.slot_failed(0, "its workers are started anew after an error")
        await slot.start()
        assert await slot.take() == JOB
        notes = (await broker.news(0)).notes
        assert notes[:2] == [
            "slot 0: node n will be taken away in 30 s; m-0 is saved and goes to the next slot that is free",
            "slot 0 is back",
        ]
        assert len(notes) == 4 * MAX_ATTEMPTS
        for _ in range(MAX_ATTEMPTS):  # without a word each counts
            await broker.slot_failed(0, "its worker 0 died")
            await slot.start()
            await slot.take(0.01)
        assert (await broker.poll("m-0", 0, 0.1) or [])[-1].kind == "failed"

    play(scene())


def test_a_slot_of_a_node_that_will_go_is_given_no_trial() -> None:
    async def scene() -> None:
        broker = Broker(2)
        going, staying = Slot(broker, 0), Slot(broker, 1)
        await going.start()
        await staying.start()
        asked = asyncio.create_task(going.take(5.0))
        await asyncio.sleep(0)
        await broker.slot_leaves(0, "a group before", "old news")
        await broker.slot_leaves(0, going.group, "node n will be taken away soon")
        await broker.submit(JOB)
        assert await asked == LEAVE
        assert await staying.take() == JOB
        assert (await broker.news(0)).notes == ["slot 0: node n will be taken away soon; no trial is lost"]
        await broker.slot_failed(0, "its workers are started anew after an error")
        await going.start()
        await broker.submit(Job("m-1", JOB.model, None))
        assert isinstance(await going.take(), Job), "its new workers are elsewhere"

    play(scene())


def test_slots_that_wait_for_a_node_end_when_no_trial_is_left_for_them() -> None:
    async def scene() -> None:
        killed: list[str] = []
        withdrawn: list[str] = []
        broker = Broker(3, kill=killed.append, withdraw=withdrawn.append)
        slot = Slot(broker)
        await slot.start()
        for number in range(3):
            assert await broker.controlled(number, [f"controller {number}"], f"request {number}") == []
        for number in range(3):
            await broker.submit(Job(f"m-{number}", JOB.model, None))
        await broker.drain(3)
        await broker.look()
        assert killed == [], "three trials want three slots"
        for _ in range(2):
            await slot.take()
            await slot.say(Update("measured"))
            await broker.look()
        assert killed == ["controller 2", "controller 1"]
        assert withdrawn == ["request 2", "request 1"], "else nodes are kept for them"
        await broker.controlled(2, ["controller 2, which came up late"], "request 2")
        assert killed.pop() == "controller 2, which came up late"
        await slot.take()
        await broker.slot_failed(0, "its worker 0 died")
        await broker.look()
        assert len(killed) == 2, "the last trial needs it"
        await broker.cancel_all()
        await broker.close()
        assert killed[2:] == ["controller 0"], "nobody waits for a place at the end"

    play(scene())


def test_a_worker_that_outlives_its_lost_slot_is_given_nothing() -> None:
    """As one does whose raylet was killed: it hears that its job was taken from it, and asks for the next."""

    async def scene() -> None:
        broker = Broker(1)
        slot = Slot(broker)
        await slot.start()
        await broker.submit(JOB)
        await slot.take()
        await broker.slot_failed(0, "its worker 0 died")
        assert await slot.say(Update("step", step=4)), "it is to stop"
        assert await slot.take(0.05) is None
        await slot.start()
        assert await slot.take() == JOB

    play(scene())


def test_slots_are_added_and_nodes_that_see_nothing_are_avoided() -> None:
    async def scene() -> None:
        broker = Broker(1)
        await broker.add_slots(2)
        await broker.add_slots(2)
        await broker.see_blind("f00", "--out (/x) cannot be seen from node n")
        await broker.see_blind("f00", "--out (/x) cannot be seen from node n")
        assert await broker.controlled(1, [None], "request") == ["f00"]
        added = Slot(broker, 1)
        await added.start()
        news = await broker.news(0)
        assert (news.up, news.notes) == (1, ["--out (/x) cannot be seen from node n; no trial is run there"])
        await broker.close()
        assert await added.take() == CLOSE

    play(scene())


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[str]:
    """The address of a head whose monitor was given a file, as Ray's processes are called."""
    types = {
        "head": {"resources": {"CPU": 8}, "max_workers": 0},
        "of unknown size": {"resources": {}, "max_workers": 9},
        "small": {"resources": {"CPU": 2}, "max_workers": 5},
        "large": {"resources": {"CPU": 16, "GPU": 4}, "max_workers": 2},
    }
    config = {"head_node_type": "head", "max_workers": 4, "available_node_types": types}
    (tmp_path / "scaling.json").write_text(json.dumps(config))
    words = ["--gcs-address=10.9.8.7:65001", f"--autoscaling-config={tmp_path}/scaling.json"]
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()", *words], stdin=subprocess.PIPE)
    while not psutil.Process(process.pid).cmdline():  # which the kernel shows a moment after the process began
        time.sleep(0.01)
    yield "127.0.0.1:65001"
    process.communicate()


def test_what_an_autoscaler_may_bring_is_read_from_what_it_goes_by(monitor: str) -> None:
    large, small = {"CPU": 16.0, "GPU": 4.0}, {"CPU": 2.0}
    assert nodes_to_come(monitor) == [large, large, small, small]
    assert nodes_to_come("127.0.0.1:65002") is None


@pytest.mark.parametrize(
    ("there", "coming", "asked", "room"),
    [
        ([{"CPU": 2}], None, {}, Room(2, 2, 6)),  # more once nodes have joined
        ([{"CPU": 0}], [{"CPU": 1}] * 4, {}, Room(4, 1, 6)),
        ([{"CPU": 0}, {"CPU": 1}], [{"CPU": 1}] * 4, {"max_concurrent": 3}, Room(3, 1, 3)),
        ([{"CPU": 0}], [], {"max_concurrent": 3}, Room(3, 1, 3)),  # an autoscaler that cannot be looked into
        ([{"CPU": 1}], None, {"workers": 4, "min_workers": 1}, Room(1, 1, 6)),
        ([{"CPU": 0}], [], {}, "set resources.max_concurrent"),
        ([{"CPU": 0}], None, {"max_concurrent": 3}, "add nodes"),
        ([{"CPU": 0}], [{"CPU": 1}] * 4, {"workers": 5}, "the autoscaler may bring, 4 CPU and 0 GPU in all"),
    ],
)
def test_room_for_slots(
    monkeypatch: pytest.MonkeyPatch,
    there: list[dict[str, float]],
    coming: list[dict[str, float]] | None,
    asked: dict[str, int],
    room: Room | str,
) -> None:
    monkeypatch.setattr("orchestrator.slots.cluster.living_nodes", lambda: there)
    monkeypatch.setattr("orchestrator.slots.cluster.nodes_to_come", lambda _head: coming)
    monkeypatch.setattr("orchestrator.slots.cluster.ray_addresses", lambda: ["head"])
    resources = ResourcesConfig.model_validate(asked)
    if isinstance(room, Room):
        assert room_for(resources, 6, joined=True) == room
    else:
        with pytest.raises(ClusterError, match=room):
            room_for(resources, 6, joined=True)
