"""The terminal while something runs: a live display where there is a terminal, plain lines elsewhere."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import RenderableType
from rich.live import Live

from orchestrator.terminal import Terminal


class Screen:
    """A context manager that owns the terminal while it is entered.

    Args:
        console: where to draw.
        render: what the live display shows; called at once, then again and again from a thread of the display.
    """

    def __init__(self, console: Terminal, render: Callable[[], RenderableType]) -> None:
        self._console = console
        self._live = Live(get_renderable=render, console=console) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
