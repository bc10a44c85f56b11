"""Models in their own units, in words and tables of HTML."""

from collections.abc import Sequence
from html import escape
from typing import Any

from orchestrator.front.schema.comparison import ModelComparison, Uncertain
from orchestrator.report.shown import format_value, short_metric
from orchestrator.report.tables import Cells, table

FEW = 3
"""Models whose every pair is told with its figures."""


def leads_in_words(found: ModelComparison) -> list[str]:
    """Who regains more safety than whom at the same utility, beyond chance, level by level."""
    sentences = []
    for level in dict.fromkeys(lead.level for lead in found.leads):
        sure = [lead for lead in found.leads if lead.level == level and lead.sure]
        if len(found.models) > FEW:  # whom each is ahead of, without the figures of every pair
            ahead = {lead.first: [one.second for one in sure if one.first == lead.first] for lead in sure}
            said = [f"{first} regains more than {', '.join(behind)}" for first, behind in ahead.items()]
        else:
            said = [
                f"{lead.first} regains more than {lead.second}"
                + (f" by {lead.difference}" if lead.difference is not None else ", which has no such trial")
                for lead in sure
            ]
        if said:
            sentences.append(f"At {100 * level:.0f} % of the task gain {'; '.join(said)}.")
    return sentences or ["At no utility does a model regain more safety than another that could be told from chance."]


def span_in_words(values: Sequence[Any]) -> str:
    """Two ends of numbers, or values one after the other."""
    shown = list(dict.fromkeys(format_value(value) for value in values))
    numbers = len(values) == 2 and all(isinstance(value, int | float) for value in values)
    return (" to " if numbers else ", ").join(shown)


def normalised_section(found: ModelComparison) -> str:
    """The figure, who leads, and the tables of models and settings."""
    levels = list(dict.fromkeys(at.level for model in found.models for at in model.at))
    head: Cells = [
        ("model", False),
        ("hypervolume", True),
        ("safety lost", True),
        ("task gained", True),
        *((f"safety regained at {100 * level:.0f} %", True) for level in levels),
    ]
    rows: list[Cells] = []
    for model in found.models:
        at = {one.level: one.safety for one in model.at}
        values = [model.hypervolume, model.lost, model.gained, *(at.get(level) for level in levels)]
        rows.append([(escape(model.name), False), *((_cell(value), True) for value in values)])
    notes = "".join(
        f'<p class="note">{escape(model.name)}: {escape(model.note)}</p>' for model in found.models if model.note
    )
    leads = "".join(f"<p>{escape(sentence)}</p>" for sentence in leads_in_words(found)) if found.leads else ""
    basis = " ".join(map(escape, found.basis))
    return (
        '<p class="axis">\u2191 share of the task gain kept (1 is plain fine-tuning)</p>'
        '<div class="chart" id="normalised"></div>'
        '<p class="axis x">share of lost safety regained (1 is the untouched model) \u2192</p>'
        '<ul class="legend" id="normalised-legend"></ul>'
        f"{leads}{table(head, rows)}{notes}"
        f'<p class="quiet">Each model in units of what its own plain fine-tuning lost and gained '
        f"({escape(short_metric(found.safety))}, {escape(short_metric(found.utility))}). Hypervolume: share of the "
        f"unit square. Members are chosen on the select prompts, intervals (95 %) are over report prompts. {basis}</p>"
        f"{_settings(found)}"
    )


def _settings(found: ModelComparison) -> str:
    if not found.settings:
        return ""
    shown = [model.name for model in found.models if model.front]
    head: Cells = [("setting", False), *((escape(name), False) for name in shown), ("on all fronts", False)]
    rows: list[Cells] = []
    for row in found.settings:
        cells = []
        for name in shown:
            chosen = (
                f"<br><small>to take: {escape(format_value(row.chosen[name]))}</small>" if name in row.chosen else ""
            )
            cells.append((escape(span_in_words(row.fronts[name])) + chosen if name in row.fronts else "", False))
        common = "nothing" if row.common is None else escape(span_in_words(row.common))
        rows.append([(escape(row.setting), False), *cells, (common, False)])
    return f"<h3>Which settings carry over</h3>{table(head, rows)}"


def _cell(value: Uncertain | None) -> str:
    return "" if value is None else f"{value.value:.2f}<br><small>{value.low:.2f} to {value.high:.2f}</small>"
