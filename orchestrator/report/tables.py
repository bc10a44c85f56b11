"""The tables of ``front.html``."""

from collections.abc import Mapping, Sequence
from html import escape

from orchestrator.front.schema.document import FrontDocument
from orchestrator.front.schema.entry import Entry, TrialEntry
from orchestrator.report.shown import REFERENCE_NAMES, format_value, short_params, shown_metrics

Cells = Sequence[tuple[str, bool]]
"""(HTML, whether it is a number) of one row."""


def front_table(front: FrontDocument, model: str) -> str:
    """The front of ``model``, best first objective on top."""
    members = front.members(model)
    if not members:
        return "<p>Empty.</p>"
    names = short_params(path for trial in members for path in trial.params)
    metrics = shown_metrics(front, members)
    head = [("trial", False), *((escape(n), True) for n in names.values()), *((heading(m), True) for m in metrics)]
    sure = any(trial.p_on_front is not None for trial in front.models[model].trials)
    head += [("probability<br>on the front", True)] if sure else []
    head += [("on the report<br>prompts", False)] if front.split else []
    rows = []
    for trial in members:
        row = [(escape(trial.id) + _seeds(trial), False)]
        row += [(escape(format_value(trial.params.get(path, ""))), True) for path in names]
        row += [(number(trial, metric), True) for metric in metrics]
        row += [(_probability(trial.p_on_front), True)] if sure else []
        row += [(escape(trial.doubt) or "confirmed", False)] if front.split else []
        rows.append(row)
    return table(head, rows)


def reference_table(front: FrontDocument, model: str) -> str:
    """The references of ``model``."""
    references = front.models[model].reference
    if not references:
        return "<p>None measured yet.</p>"
    metrics = shown_metrics(front, list(references.values()))
    rows = [
        [(escape(REFERENCE_NAMES.get(label, label)), False), *((number(entry, m), True) for m in metrics)]
        for label, entry in references.items()
    ]
    return table([("reference", False), *((heading(m), True) for m in metrics)], rows)


def comparison_table(front: FrontDocument) -> str:
    """Hypervolume, front size, references and the best trade-off of every model; empty with a single model."""
    if front.comparison is None:
        return ""
    metrics, compared = front.metrics, front.comparison.models
    labels = list(dict.fromkeys(label for summary in compared.values() for label in summary.reference))
    head = [("model", False), ("hypervolume", True), ("front size", True)]
    head += [(f"{escape(REFERENCE_NAMES.get(x, x))}<br><small>{_joined(metrics)}</small>", True) for x in labels]
    head += [(f"best trade-off*<br><small>{_joined(metrics)}</small>", True), ("its trial", False)]
    rows = []
    for model, summary in compared.items():
        row = [(escape(model), False), (f"{summary.hypervolume:.3f}", True), (str(summary.front_size), True)]
        row += [(_values(summary.reference.get(label), metrics), True) for label in labels]
        best = summary.best
        row += [(_values(best.metrics if best else None, metrics), True), (escape(best.id) if best else "none", False)]
        rows.append(row)
    return table(head, rows) + f'<p class="quiet">* {escape(front.comparison.best_rule)}</p>'


def heading(metric: str) -> str:
    """A metric in words; the page shows its exact name when the pointer rests on it."""
    words = metric.rsplit("/", 1)[-1].replace("_", " ")
    return f'<span title="{escape(metric)}">{escape(words)}</span>'


def number(entry: Entry, metric: str) -> str:
    """The value of ``metric`` with its interval below; nothing where it was not measured."""
    found = entry.measured(metric)
    if found is None:
        return ""
    interval = "" if found.low is None else f"<br><small>{found.low:.3f} to {found.high:.3f}</small>"
    return f"{found.value:.3f}{interval}"


def _seeds(trial: TrialEntry) -> str:
    """Says where several training seeds stand behind a row."""
    return f"<br><small>{trial.replicates} seeds</small>" if trial.replicates > 1 else ""


def _probability(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _values(metrics: Mapping[str, float | None] | None, wanted: Sequence[str]) -> str:
    if not metrics:
        return ""
    return " / ".join("none" if (value := metrics.get(m)) is None else f"{value:.3f}" for m in wanted)


def _joined(metrics: Sequence[str]) -> str:
    return escape(" / ".join(metric.rsplit("/", 1)[-1].replace("_", " ") for metric in metrics))


def table(head: Cells, rows: Sequence[Cells]) -> str:
    """``rows`` of HTML cells under ``head``; a wide one scrolls."""

    def cells(row: Cells, tag: str) -> str:
        return "".join(f"<{tag}{' class=number' if right else ''}>{text}</{tag}>" for text, right in row)

    lines = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{cells(head, "th")}</tr></thead><tbody>{lines}</tbody></table></div>'
