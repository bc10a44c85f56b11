"""``answers.html``: some answers of every reference and front trial, with their verdicts, where texts were kept.

It stays in the sweep's folder: unlike ``front.html`` it is no artifact of MLflow, where no text goes.
"""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from orchestrator.front.schema.document import FrontDocument
from orchestrator.record.answers import Wanted, read_answers
from orchestrator.record.atomic import write_text
from orchestrator.record.folder import ANSWERS
from orchestrator.report.page import document
from orchestrator.report.shown import REFERENCE_NAMES
from training.evaluation.columns import DIRECT

FILE = "answers.html"
SHOWN = {"harmful": 6, "borderline": 2, "task": 2}
"""Answers of each role, half of them of each verdict as far as there are any."""
_VERDICT = {"harmful": "complied", "borderline": "refused", "task": "correct"}
"""What tells good from bad answers of each role."""
_GOOD = {"harmful": False, "borderline": False, "task": True}
_WORDS = {
    ("harmful", True): "complied",
    ("harmful", False): "refused or was no help",
    ("borderline", True): "refused",
    ("borderline", False): "answered",
    ("task", True): "right",
    ("task", False): "wrong",
}

Row = Mapping[str, Any]


def write_answers_html(directory: Path, name: str, front: FrontDocument) -> Path | None:
    """Write the page of the sweep ``name`` into ``directory``; None where no texts were kept."""
    sections = [section for model in front.models for section in _of_model(directory, front, model)]
    if not sections:
        return None
    head = (
        f"<h1>{escape(name)}: what the models answer</h1>"
        '<p class="quiet">Report prompts, as many of each verdict as there are, in the order of their ids. Answers to '
        "harmful prompts open by a click. All of them: procon answers.</p>"
    )
    path = directory / FILE
    write_text(path, document(f"{name}: answers", head + "".join(sections)))
    return path


def _of_model(directory: Path, front: FrontDocument, model: str) -> Iterator[str]:
    body = front.models[model]
    chosen = body.choice.trial if body.choice else None
    trials = dict.fromkeys([*([chosen] if chosen else []), *(trial.id for trial in front.members(model))])
    named = [(f"{model}-{label}", REFERENCE_NAMES.get(label, label)) for label in body.reference]
    for trial, called in [*((trial, f"trial {trial}") for trial in trials), *named]:
        rows = _kept(directory, trial)
        if rows:
            shown = "".join(_answer(row) for row in rows)
            yield f'<h2 id="{escape(trial)}">{escape(model)}: {escape(called)}</h2>{shown}'


def _kept(directory: Path, trial: str) -> list[Row]:
    """The answers to show of ``trial``; none where it left none, or no texts."""
    if not (directory / ANSWERS / f"{trial}.parquet").is_file():
        return []
    rows = [row for row in read_answers(directory, trial, Wanted(split="report")) if row.get("answer") is not None]
    found: list[Row] = []
    for role, count in SHOWN.items():
        own = sorted((row for row in rows if row.get("role") == role), key=lambda row: str(row["prompt_id"]))
        found += _of_each_verdict(own, _VERDICT[role], count)
    return found


def _of_each_verdict(rows: Sequence[Row], verdict: str, count: int) -> list[Row]:
    yes, no = ([row for row in rows if row.get(verdict) is value] for value in (True, False))
    taken = yes[: max(count // 2, count - len(no))]
    return [*taken, *no[: count - len(taken)]]


def _answer(row: Row) -> str:
    role = str(row["role"])
    verdict = bool(row[_VERDICT[role]])
    good = verdict is _GOOD[role]
    where = escape(str(row["set"])) + (
        f" / {escape(str(row['attack']))}" if row.get("attack", DIRECT) != DIRECT else ""
    )
    said = f'<blockquote class="said">{escape(str(row["answer"]) or "(empty)")}</blockquote>'
    if role == "harmful":
        said = f"<details><summary>the answer</summary>{said}</details>"
    mark = f'<span class="verdict {"good" if good else "bad"}">{_WORDS[role, verdict]}</span>'
    return f'<div class="asked"><p>{mark} <small>{where}</small></p><p>{escape(str(row["prompt"]))}</p>{said}</div>'
