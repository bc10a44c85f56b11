"""The tables of ``front.html``."""

from collections.abc import Mapping, Sequence
from html import escape

from orchestrator.front.schema.document import FrontDocument
from orchestrator.front.schema.entry import Entry, TrialEntry
from orchestrator.report.shown import REFERENCE_NAMES, format_value, reference_name, short_params, shown_metrics

Cells = Sequence[tuple[str, bool]]
"""(HTML, whether it is a number) of one row."""
SCROLLED = '<div class="scroll" tabindex="0" role="region" aria-label="table">'
"""What scrolls sideways must be reached by keyboard."""


def trials_table(front: FrontDocument, model: str) -> str:
    """All that was measured of ``model``: references, the front best first objective on top, every other trial."""
    body = front.models[model]
    members = front.members(model)
    others = [trial for trial in body.trials if not trial.on_front]
    references = {**body.reference, **(body.scaled_references or {})}
    entries = [*references.values(), *body.trials]
    if not entries:
        return "<p>None yet.</p>"
    names = short_params(path for trial in body.trials for path in trial.params)
    metrics = shown_metrics(front, entries)
    sure = any(trial.p_on_front is not None for trial in body.trials)
    head = [("trial", False), ("what became of it", False)]
    head += [(heading(metric), True) for metric in metrics]
    head += [(escape(name), True) for name in names.values()]
    head += [("probability<br>on the front", True)] if sure else []
    head += [("on the report<br>prompts", False)] if front.split else []
    lines = []
    for label, entry in references.items():
        row = [(escape(reference_name(label)), False), ("reference", False)]
        row += [(number(entry, metric), True) for metric in metrics]
        row += [("", True)] * (len(head) - len(row))
        values = ["", "", *(_sorted_by(entry, metric) for metric in metrics)]
        lines.append(_row(row, values, f"{model}: {reference_name(label)}"))
    for trial in (*members, *others):
        arm = f" <small>{escape(trial.arm)}</small>" if trial.arm else ""
        row = [(escape(trial.id) + arm + _seeds(trial), False), (escape(_became(trial)), False)]
        row += [(number(trial, metric), True) for metric in metrics]
        row += [(escape(format_value(trial.params.get(path, ""))), True) for path in names]
        row += [(_probability(trial.p_on_front), True)] if sure else []
        told = (escape(trial.doubt) or "confirmed") if trial.on_front else ""
        row += [(told, False)] if front.split else []
        values = ["", "", *(_sorted_by(trial, metric) for metric in metrics)]
        lines.append(_row(row, values, trial.id, "" if trial.on_front else "off"))
    return (
        f'{SCROLLED}<table class="sortable"><thead>'
        f"<tr>{_cells(head, 'th')}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _became(trial: TrialEntry) -> str:
    """On the front or not, and how sure that is, else how it ended and why."""
    if trial.feasible is not None:
        place = "on the front" if trial.on_front else "dominated" if trial.feasible else "breaks a rule"
        return place + how_sure(trial)
    why = (trial.error or "").strip().splitlines()[-1:] or [trial.reason or ""]
    return f"{trial.status.lower()}: {why[0][:80]}" if why[0] else trial.status.lower()


def how_sure(trial: TrialEntry) -> str:
    """Whether the report prompts settle that a trial is on the front or off it, in words; empty where not known."""
    if trial.membership is None:
        return ""
    if trial.membership == "open":
        return ", but not for sure"
    settled = (trial.membership == "on") == trial.on_front
    return (
        ", surely" if settled else ", by chance: surely not" if trial.on_front else ", by chance: surely on the front"
    )


def _row(cells: Cells, values: Sequence[str], identity: str, kind: str = "") -> str:
    """A row that can be picked; ``values`` are what its first cells are sorted by, where they do not say it."""
    texts = []
    for place, (text, right) in enumerate(cells):
        sorted_by = f' data-v="{values[place]}"' if place < len(values) and values[place] else ""
        texts.append(f"<td{' class=number' if right else ''}{sorted_by}>{text}</td>")
    shown = f" class={kind}" if kind else ""
    return f'<tr data-id="{escape(identity)}"{shown}>{"".join(texts)}</tr>'


def _sorted_by(entry: Entry, metric: str) -> str:
    value = entry.metrics.get(metric)
    return "" if value is None else f"{value:.6g}"


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
    lines = "".join(f"<tr>{_cells(row, 'td')}</tr>" for row in rows)
    return f"{SCROLLED}<table><thead><tr>{_cells(head, 'th')}</tr></thead><tbody>{lines}</tbody></table></div>"


def _cells(row: Cells, tag: str) -> str:
    return "".join(f"<{tag}{' class=number' if right else ''}>{text}</{tag}>" for text, right in row)
