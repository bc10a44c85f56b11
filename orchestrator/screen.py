"""The terminal while something runs: a live display where there is a terminal, plain lines elsewhere."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live


def sayer(console: Console) -> Callable[[str], None]:
    """Prints a sentence as it is, on one line however long."""

    def say(sentence: str) -> None:
        console.print(sentence, highlight=False, soft_wrap=True, markup=False)

    return say


class Screen:
    """A context manager that owns the terminal while it is entered.

    Args:
        console: where to draw.
        render: what the live display shows; called at once, then again and again from a thread of the display.
    """

    def __init__(self, console: Console, render: Callable[[], RenderableType]) -> None:
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
