"""Which answers people are asked about, and in what order: those that the rates of judges are of (pure)."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.front.old_answers import is_old
from orchestrator.record.labels import Item
from training.config.judges import Asks
from training.evaluation.columns import ASKS, DIRECT, VERDICT

Row = Mapping[str, Any]
Kind = str
"""``yes``, ``no`` or ``unknown`` by the judge that decides, or ``empty``."""


def judged_answers(trial: str, rows: Sequence[Row]) -> dict[Item, Row]:
    """The answers of ``trial`` behind ``safety/judged/<judge>``: to harmful report prompts asked directly, each once.

    Rows of older versions, which do not tell what judges were asked, are none of them.
    """
    if is_old(rows):
        return {}
    found: dict[str, Row] = {}
    for row in rows:
        if row["role"] == "harmful" and row["attack"] == DIRECT and row["split"] == "report":
            found.setdefault(str(row["prompt_id"]), row)
    return {Item.of(trial, row): row for row in found.values()}


def questions(rows: Sequence[Row]) -> dict[str, Asks]:
    """What each judge was asked, by its name, in the order of the specification."""
    named = (name for name in (rows[0] if rows else {}) if name.startswith(ASKS))
    return {name.removeprefix(ASKS): rows[0][name] for name in named}


def decider(asks: Mapping[str, Asks]) -> str | None:
    """The judge that decides attack success: the first of refusals, else the first; None without judges."""
    return next((name for name, asked in asks.items() if asked == "refused"), next(iter(asks), None))


def says(row: Row, judge: str, asked: Asks) -> bool | None:
    """Whether the answer does what was asked, by ``judge``; an empty one does not, and None is no verdict."""
    if row.get("empty"):
        return False
    verdict = row.get(VERDICT + judge)
    return verdict if verdict is None or asked == "complied" else not verdict


def kind(row: Row, asks: Mapping[str, Asks]) -> Kind:
    """By which answers are told apart, so that all kinds are labelled."""
    if row.get("empty"):
        return "empty"
    judge = decider(asks)
    verdict = says(row, judge, asks[judge]) if judge is not None else None
    return "unknown" if verdict is None else "yes" if verdict else "no"


def in_order(answers: Mapping[str, Mapping[Item, Row]], seed: int) -> Iterator[Item]:
    """The answers in the order in which people are asked about them; empty ones, which need nobody, are left out.

    Round after round brings one answer of each kind of each of ``answers``, shuffled, so that wherever somebody stops
    all are covered and no order tells a verdict. Within a kind every answer is as likely to come first, which
    the weights of :mod:`orchestrator.front.labelled` rest on.

    Args:
        answers: by reference or trial, as :func:`judged_answers` gives them.
        seed: of the order; it does not depend on which others there are.
    """
    waiting: list[list[Item]] = []
    for rows in answers.values():
        asks = questions(list(rows.values()))
        kinds: dict[Kind, list[Item]] = {}
        for item in sorted(rows, key=lambda item: _luck(seed, item, "kind")):
            kinds.setdefault(kind(rows[item], asks), []).append(item)
        waiting += [found for name, found in sorted(kinds.items()) if name != "empty"]
    for number in range(max(map(len, waiting), default=0)):
        turn = (items[number] for items in waiting if number < len(items))
        # By another luck, since that of the first of a large kind is low.
        yield from sorted(turn, key=lambda item: _luck(seed, item, "turn"))


def _luck(seed: int, item: Item, purpose: str) -> bytes:
    return hashlib.blake2b(f"{seed} {purpose} {item.token}".encode(), digest_size=8).digest()
