"""The tables of ``front.html``."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from orchestrator.front.entries import unconfirmed
from orchestrator.report.plots.data import REFERENCE_NAMES, estimate, format_value, short_params

Cells = Sequence[tuple[str, bool]]
"""(HTML, whether it is a number) of one row."""


def front_table(front: Mapping[str, Any], model: str) -> str:
    """The front of ``model``, best first objective on top."""
    body = front["models"][model]
    members = front_members(front, model)
    if not members:
        return "<p>Empty.</p>"
    names = short_params(path for trial in members for path in trial["params"])
    metrics = shown_metrics(front, members)
    head = [("trial", False), *((escape(n), True) for n in names.values()), *((heading(m), True) for m in metrics)]
    sure = any(trial["p_on_front"] is not None for trial in body["trials"])
    head += [("probability<br>on the front", True)] if sure else []
    split = front["chosen_on"] == "select"
    head += [("on the report<br>prompts", False)] if split else []
    rows = []
    for trial in members:
        row = [(escape(trial["id"]) + _seeds(trial), False)]
        row += [(escape(format_value(trial["params"].get(path, ""))), True) for path in names]
        row += [(number(trial, metric), True) for metric in metrics]
        row += [(_probability(trial["p_on_front"]), True)] if sure else []
        row += [(escape(unconfirmed(trial)) or "confirmed", False)] if split else []
        rows.append(row)
    return table(head, rows)


def reference_table(front: Mapping[str, Any], model: str) -> str:
    """The references of ``model``."""
    references = front["models"][model]["reference"]
    if not references:
        return "<p>None measured yet.</p>"
    metrics = shown_metrics(front, list(references.values()))
    rows = [
        [(escape(REFERENCE_NAMES.get(label, label)), False), *((number(entry, m), True) for m in metrics)]
        for label, entry in references.items()
    ]
    return table([("reference", False), *((heading(m), True) for m in metrics)], rows)


def comparison_table(front: Mapping[str, Any]) -> str:
    """Hypervolume, front size, references and the best trade-off of every model."""
    comparison = front["comparison"]
    metrics = [objective["metric"] for objective in front["objectives"]]
    labels = list(dict.fromkeys(label for body in front["models"].values() for label in body["reference"]))
    head = [("model", False), ("hypervolume", True), ("front size", True)]
    head += [(f"{escape(REFERENCE_NAMES.get(x, x))}<br><small>{_joined(metrics)}</small>", True) for x in labels]
    head += [(f"best trade-off*<br><small>{_joined(metrics)}</small>", True), ("its trial", False)]
    rows = []
    for model, summary in comparison["models"].items():
        row = [(escape(model), False), (f"{summary['hypervolume']:.3f}", True), (str(summary["front_size"]), True)]
        row += [(_values(summary.get(label), metrics), True) for label in labels]
        best = summary["best"]
        row += [(_values(best and best["metrics"], metrics), True), (escape(best["id"]) if best else "none", False)]
        rows.append(row)
    return table(head, rows) + f'<p class="quiet">* {escape(comparison["best_rule"])}</p>'


def front_members(front: Mapping[str, Any], model: str) -> list[dict[str, Any]]:
    """The trials on the front of ``model``, best first objective first."""
    first = front["objectives"][0]
    sign = 1 if first["goal"] == "minimize" else -1
    members = [trial for trial in front["models"][model]["trials"] if trial["on_front"]]
    return sorted(members, key=lambda trial: sign * trial["metrics"][first["metric"]])


def shown_metrics(front: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Objectives first, then what the rules bound, then the other metrics of behaviour; parts of a rate stay out."""
    objectives = [objective["metric"] for objective in front["objectives"]]
    bounded = [rule.split()[0] for rule in front["feasible"]]
    others = [
        "safety/compliance_rate",
        "safety/over_refusal",
        "safety/harmless_refused",
        "safety/empty",
        "answers/truncated",
        "utility/coherence",
        "utility/loss",
    ]
    wanted = dict.fromkeys([*objectives, *bounded, *others])
    return [m for m in wanted if any(entry["metrics"].get(m) is not None for entry in entries)]


def heading(metric: str) -> str:
    """A metric in words; the page shows its exact name when the pointer rests on it."""
    words = metric.rsplit("/", 1)[-1].replace("_", " ")
    return f'<span title="{escape(metric)}">{escape(words)}</span>'


def number(entry: Mapping[str, Any], metric: str) -> str:
    """The value of ``metric`` with its interval below; nothing where it was not measured."""
    found = estimate(entry, metric)
    if found is None:
        return ""
    interval = "" if found.low is None else f"<br><small>{found.low:.3f} to {found.high:.3f}</small>"
    return f"{found.value:.3f}{interval}"


def _seeds(trial: Mapping[str, Any]) -> str:
    """Says where several training seeds stand behind a row."""
    seeds = trial.get("replicates", 1)
    return f"<br><small>{seeds} seeds</small>" if seeds > 1 else ""


def _probability(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _values(metrics: Mapping[str, float] | None, wanted: Sequence[str]) -> str:
    if not metrics:
        return ""
    return " / ".join("none" if metrics.get(m) is None else f"{metrics[m]:.3f}" for m in wanted)


def _joined(metrics: Sequence[str]) -> str:
    return escape(" / ".join(metric.rsplit("/", 1)[-1].replace("_", " ") for metric in metrics))


def table(head: Cells, rows: Sequence[Cells]) -> str:
    """``rows`` of HTML cells under ``head``; a wide one scrolls."""

    def cells(row: Cells, tag: str) -> str:
        return "".join(f"<{tag}{' class=number' if right else ''}>{text}</{tag}>" for text, right in row)

    lines = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{cells(head, "th")}</tr></thead><tbody>{lines}</tbody></table></div>'
