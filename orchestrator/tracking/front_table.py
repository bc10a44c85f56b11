"""The front as MLflow shows it: a table, a description, and parameter values that stay the same text (pure)."""

import json
from typing import Any

from orchestrator.front.schema.document import FrontDocument, ModelFront
from orchestrator.front.schema.entry import TrialEntry
from orchestrator.report.sentences import facts, how_sure, surer, verdict, warning
from orchestrator.report.shown import format_value, named_entries, short_params, shown_metrics

MAX_TEXT = 5000
"""Less than MLflow's limits on the length of a parameter's or tag's value."""


def stable_text(value: Any) -> str:
    """A parameter's value as MLflow stores it: equal values give equal text, however they were written."""
    if isinstance(value, str):
        return value[:MAX_TEXT]
    return json.dumps(value, sort_keys=True)[:MAX_TEXT]


def front_rows(front: FrontDocument, model: str) -> dict[str, Any]:
    """The front as the table that MLflow shows (pandas' ``split`` layout), what matters most on the left."""
    if model not in front.models:
        return {"columns": [], "data": []}
    members = front.members(model)
    metrics = shown_metrics(front, members)
    names = short_params(path for trial in members for path in trial.params)
    ends = [(m, end) for m in metrics if any(m in t.intervals for t in members) for end in (0, 1)]
    bounds = [f"{metric}_{('low', 'high')[end]}" for metric, end in ends]
    rows = []
    for trial in members:
        measured = [trial.metrics.get(metric) for metric in metrics]
        intervals = [trial.intervals.get(metric, (None, None))[end] for metric, end in ends]
        values = [trial.params.get(path) for path in names]
        told = trial.doubt or "confirmed"
        rows.append([trial.id, *map(_rounded, [*measured, *values, trial.p_on_front, *intervals]), told])
    return {"columns": ["trial", *metrics, *names.values(), "p_on_front", *bounds, "on_report"], "data": rows}


def _told(body: ModelFront, model: str) -> list[str]:
    """What the chosen trial has and costs, and how sure it is."""
    assert body.choice is not None
    choice = body.choice
    told = (warning(choice, model), *facts(choice), how_sure(choice), surer(choice, model))
    return [text for text in told if text]


def _rounded(value: Any) -> Any:
    """Four significant digits: the table has narrow columns, and ``front.json`` keeps the rest."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def front_note(front: FrontDocument, model: str, picture: str = "") -> str:
    """The run's description in Markdown: the picture of the front, the references and its members.

    Args:
        front: of the whole sweep.
        model: whose.
        picture: where the page finds it, as a link of Markdown; none where it is empty.
    """
    body = front.models.get(model)
    if body is None:
        return "No trial of this model was recorded."
    objectives, members, named = front.metrics, front.members(model), named_entries(front, model)
    names = short_params(path for _, entry in named for path in entry.params)
    lines = [f"| | {' | '.join(objectives)} | settings |", f"|---|{'---|' * len(objectives)}---|"]
    for name, entry in named:
        values = ("-" if (v := entry.metrics.get(m)) is None else f"{v:.3f}" for m in objectives)
        told = [f"{names[path]} {format_value(value)}" for path, value in entry.params.items()]
        settings = ", ".join(["plain", *told] if isinstance(entry, TrialEntry) and entry.arm else told)
        lines.append(f"| {name} | {' | '.join(values)} | {settings} |")
    tally = f"Pareto front of {len(members)} among {len(body.trials)} searched trials"
    halves = "chosen on the select prompts, with values of the report prompts" if front.split else "on all prompts"
    head = f"{tally}, {halves}; the plot is front.html under Artifacts."
    doubts = [f"On the report prompts {trial.id}: {trial.doubt}." for trial in members if trial.doubt]
    told = [verdict(front, model), *(f"- {fact}" for fact in _told(body, model))] if body.choice else []
    told += ["", f"**{body.verdict.sentence}**"] if body.verdict else []
    text = "\n".join([*told, "", head, "", *([body.note, ""] if body.note else []), *lines, "", *doubts]).lstrip()
    return f"{text[: MAX_TEXT - len(picture) - 2]}\n\n{picture}".rstrip()
