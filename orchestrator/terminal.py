"""The one way of printing: what comes from outside is shown as it is, never parsed and never obeyed."""

import logging
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from training.secrets import without_secrets

Part = str | Text | tuple[str, str]
"""A piece of a line: a text, or a text and its style."""

_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but for tab and newline, reversals of the direction of writing, and halves of surrogate pairs,
which no file takes."""


def neutralised(text: str) -> str:
    """``text`` with a visible sign for every character that a terminal would obey rather than show."""
    return _OBEYED.sub(_sign, text)


def _sign(match: re.Match[str]) -> str:
    code = ord(match[0])
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"


class Terminal(Console):
    """A console on which brackets are brackets: paths, errors, answers and names hold what looks like rich's markup.

    Everything that prints takes one of these, so that no text can be printed in another way. Colours are given as
    styles (:meth:`say`, ``rich.text.Text``), control characters of a text become visible signs, and secrets stars.

    Args:
        stderr: writes to standard error.
        options: of ``rich.console.Console``.
    """

    def __init__(self, *, stderr: bool = False, **options: Any) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False, **options)

    def say(self, *parts: Part) -> None:
        """A line made of ``parts``; as long as it is, so that paths and commands can be copied."""
        self.print(Text.assemble(*parts), soft_wrap=True)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What rich draws of ``renderable``, with the characters of its texts neutralised; rich's own codes stay."""
        return self._neutral(super().render(renderable, options))

    def _neutral(self, segments: Iterable[Segment]) -> Iterator[Segment]:
        for segment in segments:
            shown = segment.text if segment.control is not None else _shown(segment.text)
            yield segment if shown == segment.text else Segment(shown, segment.style)


def _shown(text: str) -> str:
    return neutralised(without_secrets(text))


class _NeutralFormatter(logging.Formatter):
    """A message with what an MLflow server or a library put into it, neutralised."""

    def format(self, record: logging.LogRecord) -> str:
        return _shown(super().format(record))


def guard_errors() -> None:
    """Neutralise what Python writes to standard error just as it is: logs without a handler, and tracebacks."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_NeutralFormatter())
    sys.excepthook = _write_traceback


def _write_traceback(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    sys.stderr.write(_shown("".join(traceback.format_exception(kind, error, where))))


def complain(text: str) -> None:
    """Say ``text`` on standard error, each of its lines with the program's name before it."""
    terminal = Terminal(stderr=True)
    for line in text.splitlines():
        terminal.say(f"procon: {line}")
