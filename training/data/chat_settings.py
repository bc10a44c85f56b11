"""What a chat template is rendered with besides the messages: its arguments and the date, written into the template.

Transformers hands arguments to a template as plain data and gives it a ``strftime_now`` that reads the clock, so a
template that prints the date (as Llama 3.2's and gpt-oss's do) writes other prompts after midnight. Here both are
written in front of the template's text. Whoever renders it (we, transformers, lm-eval) then renders the same.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date as Date
from datetime import datetime, time
from typing import Any, Self

from training.config import ModelConfig, ReasoningMarks

_DIRECTIVE = re.compile(r"%[-_0^#]?[EO]?[aAbBcCdDeFfgGhHIjklmMnpPrRSsTtuUVwWxXyYzZ]")
_PERCENT = "\0"
"""Stands for an escaped percent sign while the others are replaced; no template holds it."""


@dataclass(frozen=True)
class ChatSettings:
    """How the chat template of one model is rendered wherever a sweep renders it."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Values of variables that the template reads, such as ``enable_thinking``."""
    reasoning: str | ReasoningMarks = "auto"
    """How an answer is told from the thought before it; see :attr:`training.config.ModelConfig.reasoning`."""
    date: Date | None = None
    """The day that a template which asks for the date is told, at midnight; None leaves it to the clock."""

    @classmethod
    def of(cls, model: ModelConfig, date: Date | None) -> Self:
        """The settings of ``model`` in a sweep whose day is ``date``."""
        return cls(model.chat_template_kwargs, model.reasoning, date)

    def bound(self, template: str) -> str:
        """``template`` with arguments and date written in front of it; the text itself where there are none."""
        lines = [f"{{% set {name} = {value!r} %}}" for name, value in self.arguments.items()]
        if self.date is not None and "strftime_now" in template:
            lines.append(_clock(template, datetime.combine(self.date, time())))
        # The line break after a block is trimmed, so that the template begins at the start of a line as it did.
        return "".join(f"{line}\n" for line in lines) + template


def _clock(template: str, now: datetime) -> str:
    """A macro that stands in for ``strftime_now``: every directive that occurs in ``template``, written out."""
    directives = sorted(set(_DIRECTIVE.findall(template)), key=len, reverse=True)
    pairs = [("%%", _PERCENT), *((one, now.strftime(one)) for one in directives), (_PERCENT, "%")]
    replaced = "".join(f" | replace({one!r}, {text!r})" for one, text in pairs)
    return f"{{% macro strftime_now(format) %}}{{{{ format{replaced} }}}}{{% endmacro %}}"
