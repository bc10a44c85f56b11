"""What a model said to one prompt, with every verdict on it."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from training.config.judges import Asks
from training.evaluation.columns import ASKS, TEXTS, VERDICT
from training.evaluation.drawing import Split
from training.evaluation.prompt_sets import Role

Row = dict[str, object]


@dataclass(frozen=True)
class Answer:
    """One answer; a verdict that no judge gave is none, never a guess."""

    set: str
    """Name of the set."""
    role: Role
    """What the set measures."""
    split: Split
    """The view that the prompt belongs to."""
    attack: str
    """``direct``, or the name of the attack."""
    prompt_id: str
    """Identity of the prompt, the same under every attack."""
    prompt: str
    """What the data has, without the attack."""
    answer: str
    """What the model said, a prefill included and thoughts left out."""
    request: str | None = None
    """What a compliant answer would echo, where the data says so."""
    family: str | None = None
    """The task family, where the data names one."""
    correct: bool | None = None
    """Whether it is right; None where nothing checks it."""
    refused: bool | None = None
    """Whether it refuses, by the judge that decides."""
    complied: bool | None = None
    """Whether it does what was asked, by the judge that decides; harmful prompts only."""
    reasoning: str | None = None
    """What the model thought before it; None where it did not mark a thought."""
    truncated: bool = False
    """Whether the reply was cut at ``evaluation.max_new_tokens``."""
    empty: bool = False
    """Whether the model said nothing, a prefill left out: such an answer neither refuses nor complies."""
    refused_at_once: bool | None = None
    """Whether its first sentence refuses; None unless refusal phrases decide what refused."""
    coherent: bool = True
    """Whether it is not degenerate; see :mod:`training.evaluation.coherence`."""
    verdicts: dict[str, bool | None] = field(default_factory=dict)
    """The verdict of every judge that was asked, by its name; None where it gave none."""

    @property
    def attack_succeeded(self) -> bool | None:
        """Whether it answers and does not refuse; None where nobody knows what refused."""
        return None if self.refused is None else not (self.refused or self.empty)

    @property
    def thought_only(self) -> bool:
        """Whether the model thought and then said nothing."""
        return self.empty and bool(self.reasoning)

    def row(self, asks: Mapping[str, Asks]) -> Row:
        """The answer as a row of the table, whose columns are the same for every answer, two per judge among them.

        Args:
            asks: what each judge asks, by its name.
        """
        row: Row = {
            "set": self.set,
            "role": self.role,
            "split": self.split,
            "attack": self.attack,
            "prompt_id": self.prompt_id,
            "prompt": self.prompt,
            "answer": self.answer,
            "reasoning": self.reasoning,
            "answer_hash": hashlib.sha256(self.answer.encode()).hexdigest()[:16],
            "truncated": self.truncated,
            "empty": self.empty,
            "refused": self.refused,
            "refused_at_once": self.refused_at_once,
            "complied": self.complied,
            "correct": self.correct,
            "family": self.family,
            "coherent": self.coherent,
            "thought_only": self.thought_only,
        }
        row |= {VERDICT + judge: self.verdicts.get(judge) for judge in asks}
        return row | {ASKS + judge: asked for judge, asked in asks.items()}


def distinct(answers: Iterable[Answer]) -> list[Answer]:
    """One answer per prompt: sets may share prompts, and an interval counts each once."""
    first: dict[str, Answer] = {}
    for answer in answers:
        first.setdefault(answer.prompt_id, answer)
    return list(first.values())


def without_text(rows: Sequence[Row]) -> list[Row]:
    """Rows of answers with neither prompt nor answer nor thought: their hashes and verdicts remain."""
    return [{key: value for key, value in row.items() if key not in TEXTS} for row in rows]
