"""Waiting for news of one thing among many, so that a report of one trial wakes nobody who waits for another."""

import asyncio
from collections.abc import Callable, Hashable


class Topics:
    """Who waits for what, in one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, dict[asyncio.Future[None], None]] = {}

    async def until(self, ready: Callable[[], bool], topic: Hashable, timeout: float) -> None:
        """Return once ``ready`` holds, which is asked at every news of ``topic``, or after ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while not ready():
                    await self._news(topic)
        except TimeoutError:
            pass

    def tell(self, topic: Hashable) -> None:
        """There are news of ``topic``."""
        for future in self._waiting.pop(topic, ()):
            if not future.done():
                future.set_result(None)

    def tell_all(self) -> None:
        """There may be news of everything."""
        for topic in list(self._waiting):
            self.tell(topic)

    async def _news(self, topic: Hashable) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(topic, {})[future] = None
        try:
            await future
        finally:
            waiting = self._waiting.get(topic, {})
            waiting.pop(future, None)
            if not waiting:
                self._waiting.pop(topic, None)
