"""Which prompts are measured, and which of them only the report sees: decided by what each prompt says."""

import hashlib
from collections.abc import Sequence
from typing import Literal, TypeVar

Split = Literal["select", "report"]
SPLITS: tuple[Split, ...] = ("select", "report")

_T = TypeVar("_T")


def prompt_id(prompt: str) -> str:
    """Identity of a prompt: a hash of its text, the same in every sweep."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:12]


def plain(prompt: str) -> str:
    """``prompt`` without case, spacing and closing punctuation: two that differ only there are the same question."""
    return " ".join(prompt.lower().split()).rstrip(".?!: ")


def split_of(prompt: str, share: float, seed: int) -> Split:
    """``report`` with probability ``share`` over prompts; of one prompt it is the same in every set and draw."""
    return "report" if _fraction(f"{seed}/split/{plain(prompt)}") < share else "select"


def draw(rows: Sequence[_T], prompts: Sequence[str], *, count: int, share: float, seed: int) -> list[tuple[_T, Split]]:
    """At most ``count`` of ``rows`` in their order, a ``share`` of them for the report.

    A larger ``count`` adds prompts and moves none: each view takes its prompts in the order of their hashes. Where one
    view has too few, the other makes up for them.

    Args:
        rows: what is drawn from.
        prompts: the prompt of every row, all distinct.
        count: largest number of rows, over both views.
        share: of the report; 0 puts all rows there.
        seed: of draw and split.
    """
    order = sorted(range(len(rows)), key=lambda index: _fraction(f"{seed}/draw/{prompts[index]}"))
    if share == 0:
        return [(rows[index], "report") for index in sorted(order[:count])]
    sides: dict[Split, list[int]] = {split: [] for split in SPLITS}
    for index in order:
        sides[split_of(prompts[index], share, seed)].append(index)
    wanted = round(share * count)
    reported = min(len(sides["report"]), max(wanted, count - len(sides["select"])))
    chosen: list[tuple[int, Split]] = [(index, "report") for index in sides["report"][:reported]]
    chosen += [(index, "select") for index in sides["select"][: count - reported]]
    return [(rows[index], split) for index, split in sorted(chosen)]


def _fraction(text: str) -> float:
    """A number between 0 and 1 that ``text`` alone decides, spread evenly over texts."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
