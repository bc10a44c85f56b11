"""A worker's signs of life, from a thread beside its work; the broker is the real one, in this process."""

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from orchestrator.slots.broker import Broker
from orchestrator.slots.pulse import Pulse, bytes_moved
from training.distributed import progress


class Heard:
    """The broker as a worker holds it, with what it was told."""

    def __init__(self) -> None:
        self.broker = Broker(slots=1)
        self.calls: list[tuple[Any, ...]] = []
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        def remote(*arguments: Any) -> Any:
            with self._lock:
                self.calls.append((name, *arguments))
                return asyncio.run(getattr(self.broker, name)(*arguments))

        return SimpleNamespace(remote=remote)

    def wait_for(self, count: int) -> list[tuple[Any, ...]]:
        deadline = time.monotonic() + 30
        while len(self.calls) < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return list(self.calls)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    monkeypatch.setattr("ray.get", lambda answer, timeout: answer)
    monkeypatch.setattr("ray.get_runtime_context", lambda: SimpleNamespace(current_actor="me"))
    return Heard()


def test_it_makes_itself_known_and_then_tells_what_is_done(heard: Heard) -> None:
    with Pulse(heard, 0, "g", 1, 2, silence=0.5):
        first, second, third = heard.wait_for(3)[:3]
        assert first[:4] == third[:4] == ("beat", 0, "g", 1)
        assert second == ("here", 0, "g", 1, 2, ["me"])
        progress.advance()
        heard.wait_for(6)
    beats = [call[4] for call in heard.calls if call[0] == "beat"]
    assert beats[-1] > beats[0]
    asyncio.run(heard.broker.look())
    count = len(heard.calls)
    time.sleep(0.3)
    assert len(heard.calls) <= count + 1, "it ends with the block"


def test_a_worker_whose_broker_is_gone_for_good_ends(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no worker outlives a cluster whose head has died, with all the memory that it holds."""
    monkeypatch.setattr("orchestrator.slots.pulse.ORPHANED_SECONDS", 0.5)
    ended = threading.Event()
    monkeypatch.setattr("os._exit", lambda _code: ended.set())
    with Pulse(heard, 0, "g", 0, 1, silence=0.5):
        heard.wait_for(3)
        assert not ended.wait(1.0)

        def gone(_answer: Any, timeout: float) -> None:
            raise ray.exceptions.ActorDiedError

        monkeypatch.setattr("ray.get", gone)
        assert ended.wait(30)


def test_reading_is_work(tmp_path: Any) -> None:
    file = tmp_path / "weights"
    file.write_bytes(bytes(2**21))
    before = bytes_moved()
    file.read_bytes()
    assert bytes_moved() - before >= 2**21
