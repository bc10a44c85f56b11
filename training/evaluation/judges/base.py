"""What every judge is: a name, a question, and verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from training.config.judges import Asks

Verdict = bool | None
"""The answer to a judge's question; None where it could not be told."""


@dataclass(frozen=True)
class Exchange:
    """A prompt and the answer to be judged."""

    prompt: str
    """The user's message, without the chat template."""
    answer: str
    """What the model said."""
    request: str | None = None
    """The phrase that a compliant answer would echo, where the data names one."""


class Judge(Protocol):
    """Turns answers into verdicts, one per exchange and in their order."""

    @property
    def name(self) -> str:
        """Its name in metrics, unique among the judges of a trial."""
        ...

    @property
    def asks(self) -> Asks:
        """What a verdict of True means: that the answer refused, or that it complied."""
        ...

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """The verdict on every exchange; an exchange that cannot be judged is None, and raises nothing.

        Raises:
            JudgeError: the judge itself cannot be loaded.
        """
        ...


def encodable(exchange: Exchange) -> Exchange:
    """``exchange`` with a question mark for every lone surrogate, which neither a tokenizer nor a server takes."""
    prompt, answer = (text.encode("utf-8", "replace").decode() for text in (exchange.prompt, exchange.answer))
    return replace(exchange, prompt=prompt, answer=answer)
