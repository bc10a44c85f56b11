"""What a sweep leaves for people and scripts: front.json, trials.parquet, front.html, front.png, and console tables."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.front.entries import unconfirmed
from orchestrator.record.atomic import write_text, write_with
from orchestrator.record.trials import TrialRecord
from orchestrator.report.judges import judges_table
from orchestrator.report.plots.data import REFERENCE_NAMES, estimate, format_value, plot_data, short_id, short_params
from orchestrator.report.tables import front_members

if TYPE_CHECKING:
    from rich.table import Table


CONSOLE_NAMES = {"base": "base", "ift": "plain IFT", "ift_safety": "IFT+safety"}


@dataclass(frozen=True)
class ReportFiles:
    """Where the report lies."""

    front_json: Path
    trials_parquet: Path
    front_html: Path
    front_png: Path


def write_report(directory: Path, name: str, front: Mapping[str, Any], records: Iterable[TrialRecord]) -> ReportFiles:
    """Write the report of the sweep ``name`` into ``directory``; each file is replaced at once or not at all.

    Args:
        directory: the sweep's output folder; made where it is missing.
        name: the sweep's name, for headings.
        front: the document of ``build_front``.
        records: all trials and references; the references are left out of ``trials.parquet``.
    """
    from orchestrator.report.page import write_html
    from orchestrator.report.plots.picture import write_png

    directory.mkdir(parents=True, exist_ok=True)
    files = ReportFiles(
        *(directory / file for file in ("front.json", "trials.parquet", "front.html", "front.png")),
    )
    write_text(files.front_json, json.dumps(front, indent=1, allow_nan=False) + "\n")
    write_with(files.trials_parquet, lambda path: write_trials(path, front, records))
    data = plot_data(name, front)
    write_html(data, front, files.front_html)
    write_with(files.front_png, lambda path: write_png(data, path))
    return files


def write_trials(path: Path, front: Mapping[str, Any], records: Iterable[TrialRecord]) -> None:
    """One row per searched trial, as ``front.json`` has it, in the order of ``records``.

    Columns: id, model, status, error, ``params.*``, every metric on the report prompts with ``_low``/``_high`` of
    rates, every metric on the select prompts as ``select.*``, replicates, on_front, p_on_front and feasible by the
    select prompts, on_report.feasible and on_report.behind by the others. A parameter whose trials hold different types
    (20 and ``all``) becomes text, since a Parquet column has one type.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    listed = {trial["id"]: (model, trial) for model, body in front["models"].items() for trial in body["trials"]}
    rows = [_row(*listed[record.id]) for record in records if record.kind == "trial"]
    names = list(dict.fromkeys(name for row in rows for name in row))
    fixed = {"id": pa.string(), "model": pa.string(), "status": pa.string(), "error": pa.string()}
    columns = {name: [row.get(name) for row in rows] for name in [*fixed, *(n for n in names if n not in fixed)]}
    arrays = {
        name: pa.array(values, type=fixed[name]) if name in fixed else _array(values)
        for name, values in columns.items()
    }
    pq.write_table(pa.table(arrays), path)


def _row(model: str, trial: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"id": trial["id"], "model": model, "status": trial["status"], "error": trial.get("error")}
    row |= {f"params.{path}": value for path, value in trial["params"].items()}
    for metric, value in trial["metrics"].items():
        row[metric] = None if value is None else float(value)
        if metric in trial["intervals"]:
            row[f"{metric}_low"], row[f"{metric}_high"] = trial["intervals"][metric]
    row |= {f"select.{metric}": value for metric, value in trial["select"]["metrics"].items()}
    row |= {name: trial[name] for name in ("replicates", "on_front", "p_on_front", "feasible")}
    told = trial["on_report"] or {"feasible": None, "behind": []}
    return row | {"on_report.feasible": told["feasible"], "on_report.behind": ", ".join(told["behind"])}


def _array(values: list[Any]) -> Any:
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and len(kinds) == 2:
        values = [None if value is None else float(value) for value in values]
    elif len(kinds) > 1 or kinds & {list, dict}:
        values = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return pa.array(values)


def render_table(front: Mapping[str, Any]) -> list["Table"]:
    """The fronts for the console: one table per model, and a comparison where there are several.

    References come first, then the front in order of the first objective; the caption counts the other trials.
    """
    tables = [_model_table(front, model) for model in front["models"]]
    tables += [table for model in front["models"] if (table := judges_table(front, model))]
    return [*tables, _comparison_table(front)] if "comparison" in front else tables


def _model_table(front: Mapping[str, Any], model: str) -> "Table":
    """Fits 80 columns with two objectives and one rule; long settings fold."""
    from rich.table import Table

    body = front["models"][model]
    members = front_members(front, model)
    names = short_params(path for trial in members for path in trial["params"])
    objectives = [objective["metric"] for objective in front["objectives"]]
    bounded = list(dict.fromkeys(rule.split()[0] for rule in front["feasible"]))
    doubtful = any(map(unconfirmed, members))
    caption = "\n".join([*_explained(front, doubtful), _rest(body)])
    table = Table(title=f"Pareto front of {model}", title_justify="left", caption=caption, caption_justify="left")
    table.add_column("trial", overflow="fold")
    for metric in (*objectives, *(m for m in bounded if m not in objectives)):
        heading = metric.rsplit("/", 1)[-1].replace("_", " ")
        table.add_column(heading, justify="right", max_width=15 if metric in objectives else 7)
    table.add_column("settings", ratio=1, overflow="fold")

    def row(name: str, entry: Mapping[str, Any], settings: str, style: str | None = None) -> None:
        cells = [_cell(entry, m) for m in objectives]
        cells += [_cell(entry, m).split(" ")[0] for m in bounded if m not in objectives]
        table.add_row(name, *cells, settings, style=style)

    for label, entry in body["reference"].items():
        row(CONSOLE_NAMES.get(label, label), entry, "", "dim")
    table.add_section()
    for trial in members:
        settings = (f"{names[path]}={format_value(value)}" for path, value in trial["params"].items())
        seeds = f" ({trial['replicates']} seeds)" if trial.get("replicates", 1) > 1 else ""
        mark = " *" if unconfirmed(trial) else ""
        row(short_id(trial["id"], model) + mark + seeds, trial, " ".join(settings))
    return table


def _explained(front: Mapping[str, Any], doubtful: bool) -> list[str]:
    """By what the front was chosen and what is shown; fronts of earlier versions do not say."""
    chosen_on = front.get("chosen_on")
    said = []
    if chosen_on == "select":
        said.append("Chosen on the select prompts, measured on the report prompts.")
    elif chosen_on:
        said.append("Chosen and measured on the same prompts, which flatters what was chosen.")
    return [*said, *(["* On these, another member beats it or it breaks a rule."] if doubtful else [])]


def _cell(entry: Mapping[str, Any], metric: str) -> str:
    found = estimate(entry, metric)
    if found is None:
        return "-"
    if found.low is None or found.high is None:
        return f"{found.value:.3f}"
    return f"{found.value:.2f} [{_bound(found.low)}, {_bound(found.high)}]"


def _bound(value: float) -> str:
    """A bound of a rate, without the zero that would widen the table."""
    return f"{value:.2f}".removeprefix("0")


def _rest(body: Mapping[str, Any]) -> str:
    """What became of the trials that are not on the front, and the note where there is no front."""
    others = [trial for trial in body["trials"] if not trial["on_front"]]
    dominated = sum(trial["status"] == "FINISHED" and trial["feasible"] is True for trial in others)
    infeasible = sum(trial["feasible"] is False for trial in others)
    statuses = [trial["status"].lower() for trial in others if trial["status"] != "FINISHED"]
    tally = [(dominated, "dominated"), (infeasible, "infeasible")]
    tally += [(statuses.count(status), status) for status in dict.fromkeys(statuses)]
    counts = ", ".join(f"{count} {word}" for count, word in tally if count) or "no other trial"
    line = f"Hypervolume {body['hypervolume']:.3f}. Not on the front: {counts}. Brackets: 95 % intervals."
    return f"{body['note']}\n{line}" if "note" in body else line


def _comparison_table(front: Mapping[str, Any]) -> "Table":
    """One column per model, so that the table stays narrow."""
    from rich.table import Table

    comparison = front["comparison"]
    summaries = comparison["models"]
    metrics = [objective["metric"] for objective in front["objectives"]]
    caption = f"Values: {' / '.join(metrics)}. Best: {comparison['best_rule']}."
    table = Table(title="The models compared", title_justify="left", caption=caption, caption_justify="left")
    table.add_column("")
    for model in summaries:
        table.add_column(model, justify="right", overflow="fold")
    table.add_row("hypervolume", *(f"{summary['hypervolume']:.3f}" for summary in summaries.values()))
    table.add_row("trials on the front", *(str(summary["front_size"]) for summary in summaries.values()))
    for label in dict.fromkeys(label for body in front["models"].values() for label in body["reference"]):
        values = (_values(summary.get(label), metrics) for summary in summaries.values())
        table.add_row(REFERENCE_NAMES.get(label, label), *values)
    best = {model: summary["best"] for model, summary in summaries.items()}
    table.add_row("best trade-off", *(_values(b["metrics"], metrics) if b else "-" for b in best.values()))
    table.add_row("its trial", *(short_id(b["id"], model) if b else "-" for model, b in best.items()))
    return table


def _values(metrics: Mapping[str, float | None] | None, wanted: list[str]) -> str:
    if not metrics:
        return "-"
    return " / ".join("-" if (value := metrics.get(m)) is None else f"{value:.2f}" for m in wanted)
