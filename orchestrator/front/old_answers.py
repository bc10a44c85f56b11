"""Rows of ``answers/`` that were written before roles were a column, with the columns they lack (pure).

The one place that knows of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from training.config.judges import Asks
from training.evaluation.columns import ASKS, DIRECT, VERDICT

Row = Mapping[str, Any]
_SINGLE = ("harmful", "harmless", "borderline", "task")
"""Sets that are called like their role."""
_ASKED: tuple[Asks, ...] = ("complied", "refused")


def is_old(rows: Sequence[Row]) -> bool:
    """Whether ``rows`` do not tell the roles of their sets."""
    return any("role" not in row for row in rows[:1])


def with_roles(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """``rows`` with what they lack, once for each question that the judges may have been asked.

    Compliance was judged on harmful prompts alone, and only tasks have correct answers. What each judge asked nobody
    noted: what the rates of judges come to has to tell. Rows of the first version have neither split, since all prompts
    were reported, nor attacks.
    """
    complied = {row["set"] for row in rows if row["complied"] is not None}
    scored = {row["set"] for row in rows if row["correct"] is not None}
    judges = [name.removeprefix(VERDICT) for name in rows[0] if name.startswith(VERDICT)]

    def role(name: str) -> str:
        if name in _SINGLE:
            return name
        return "harmful" if name in complied else "capability" if name in scored else "borderline"

    for asked in _ASKED:
        questions = dict.fromkeys((ASKS + judge for judge in judges), asked)
        yield [
            {
                **row,
                "role": role(row["set"]),
                "split": row.get("split") or "report",
                "attack": row.get("attack") or DIRECT,
                **questions,
            }
            for row in rows
        ]
