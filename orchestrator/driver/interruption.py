"""What Ctrl+C and SIGTERM do while a sweep is driven."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """While it is entered, both signals raise KeyboardInterrupt, or, within :meth:`waits`, ask for a clean end first.

    Only the main thread hears signals: entered by another it does nothing.
    """

    def __init__(self) -> None:
        self._stop: Callable[[], None] | None = None
        self._asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def again(self) -> None:
        """Listen anew once Ray has started, which puts a handler of its own before ours that aborts the process."""
        for number in self._before:
            signal.signal(number, self._handle)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def waits(self, stop: Callable[[], None]) -> Iterator[None]:
        """The first signal calls ``stop``, on a thread of its own; the next one raises."""
        self._stop = stop
        try:
            yield
        finally:
            self._stop, self._asked = None, False

    def _handle(self, _number: int, _frame: Any) -> None:
        if self._stop is None or self._asked:
            raise KeyboardInterrupt
        self._asked = True
        threading.Thread(target=self._stop, daemon=True).start()  # Ray must not be called from within a signal handler
