"""The front on the console: per model its front and its judges, and the models compared."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.front.schema.document import Comparison, FrontDocument, ModelFront
from orchestrator.front.schema.entry import Entry, TrialEntry
from orchestrator.front.schema.labels import CorrectedRate
from orchestrator.record.trials import Status
from orchestrator.report.shown import (
    CONFUSED,
    REFERENCE_NAMES,
    entry_key,
    format_value,
    named_entries,
    people_in_words,
    short_id,
    short_params,
)
from sweeps.statistics.normalised import knee

if TYPE_CHECKING:
    from rich.table import Table

CONSOLE_NAMES = {"base": "base", "ift": "plain IFT", "ift_safety": "IFT+safety"}
CELL = len("0.17 [.12, .24]")
KAPPA = "judges/kappa/"
JUDGED = "safety/judged/"
UNKNOWN = "safety/unknown/"


def render_table(front: FrontDocument) -> list["Table"]:
    """The fronts for the console: one table per model, and a comparison where there are several.

    References come first, then the front in order of the first objective; the caption counts the other trials.
    """
    tables = [_model_table(front, model) for model in front.models]
    tables += [table for model in front.models if (table := judges_table(front, model))]
    tables += [table for model in front.models if (table := labelled_table(front, model))]
    return [*tables, _comparison_table(front, front.comparison)] if front.comparison else tables


def _model_table(front: FrontDocument, model: str) -> "Table":
    """Fits 80 columns with two objectives and one rule; long settings fold."""
    from rich.table import Table

    body, members = front.models[model], front.members(model)
    names = short_params(path for trial in members for path in trial.params)
    objectives = front.metrics
    bounded = [metric for metric in front.bounded if metric not in objectives]
    bend, chosen = _knee(front, members), body.choice.trial if body.choice and body.choice.keeps else None
    marks = ["+ To take by the default rule; procon choose says why."] if chosen in body.front else []
    marks += ["k The front bends here: beyond it each step costs more of the other."] if bend else []
    verdict = [body.verdict.sentence] if body.verdict else []
    caption = "\n".join([*verdict, *_explained(front, members), *marks, _rest(body)])
    table = Table(title=f"Pareto front of {model}", title_justify="left", caption=caption, caption_justify="left")
    table.add_column("trial", overflow="fold")
    for metric in (*objectives, *bounded):
        heading = metric.rsplit("/", 1)[-1].replace("_", " ")
        whole = metric in objectives
        heading = textwrap.fill(heading, CELL)  # a column that may not wrap would cut it off
        table.add_column(heading, justify="right", max_width=CELL if whole else 7, no_wrap=whole)
    table.add_column("settings", ratio=1, overflow="fold")

    def row(name: str, entry: Entry, settings: str, style: str | None = None) -> None:
        cells = [_cell(entry, m) for m in objectives]
        cells += [_cell(entry, m).split(" ")[0] for m in bounded]
        table.add_row(name, *cells, settings, style=style)

    for label, entry in body.reference.items():
        row(CONSOLE_NAMES.get(label, label), entry, "", "dim")
        for name, one in (body.scaled_references or {}).items():
            trained, _, scale = name.partition("@")
            if trained == label:
                row(f"  scaled {scale}", one, "no training", "dim")
    table.add_section()
    for trial in members:
        settings = [f"{names[path]}={format_value(value)}" for path, value in trial.params.items()]
        seeds = f" ({trial.replicates} seeds)" if trial.replicates > 1 else ""
        mark = " *" if trial.doubt else ""
        mark += " ?" if trial.membership == "open" else ""
        mark += " k" if trial.id == bend else ""
        mark += " +" if trial.id == chosen else ""
        told = " ".join([trial.arm, *settings] if trial.arm else settings)
        row(short_id(trial.id, model) + mark + seeds, trial, told)
    return table


def _knee(front: FrontDocument, members: Sequence[TrialEntry]) -> str | None:
    """The member at which a front of two objectives bends, by the select prompts; None where it has no bend."""
    if len(front.objectives) != 2:
        return None
    signs = [1 if objective.goal == "maximize" else -1 for objective in front.objectives]
    rows = []
    for trial in members:
        values = [trial.select.metrics.get(metric) for metric in front.metrics]
        rows.append([sign * (math.nan if v is None else v) for sign, v in zip(signs, values, strict=True)])
    if not rows or not all(math.isfinite(value) for row in rows for value in row):
        return None
    place = knee(rows)
    return None if place is None else members[place].id


def _explained(front: FrontDocument, members: Sequence[TrialEntry]) -> list[str]:
    """By what the front was chosen and what is shown."""
    said = [
        "Chosen on the select prompts, measured on the report prompts."
        if front.split
        else "Chosen and measured on the same prompts, which flatters what was chosen."
    ]
    doubtful = any(trial.doubt for trial in members)
    unsettled = sum(trial.membership == "open" for trial in members)
    marks = ["* On these, another member beats it or it breaks a rule."] if doubtful else []
    marks += ["? Whether it is on the front cannot be told (95 % for all together)."] if unsettled else []
    return [*said, *marks]


def _cell(entry: Entry, metric: str) -> str:
    found = entry.measured(metric)
    if found is None:
        return "-"
    if found.low is None or found.high is None:
        return f"{found.value:.3f}"
    return f"{found.value:.2f} [{_bound(found.low)}, {_bound(found.high)}]"


def _bound(value: float) -> str:
    """A bound of a rate, without the zero that would widen the table."""
    return f"{value:.2f}".removeprefix("0")


def _rest(body: ModelFront) -> str:
    """What became of the trials that are not on the front, and the note where there is no front."""
    others = [trial for trial in body.trials if not trial.on_front]
    dominated = sum(trial.feasible is True for trial in others)
    statuses = [trial.status.lower() for trial in others if trial.status is not Status.FINISHED]
    tally = [(dominated, "dominated"), (len(body.infeasible), "infeasible")]
    tally += [(statuses.count(status), status) for status in dict.fromkeys(statuses)]
    counts = ", ".join(f"{count} {word}" for count, word in tally if count) or "no other trial"
    line = f"Hypervolume {body.hypervolume:.3f}. Not on the front: {counts}. Brackets: 95 % intervals."
    if body.steps is not None:
        line += f"\n{body.steps.sentence}"
    return f"{body.note}\n{line}" if body.note else line


def _comparison_table(front: FrontDocument, comparison: Comparison) -> "Table":
    """One column per model, so that the table stays narrow."""
    from rich.table import Table

    summaries, metrics = comparison.models, front.metrics
    caption = f"Values: {' / '.join(metrics)}. Best: {comparison.best_rule}."
    table = Table(title="The models compared", title_justify="left", caption=caption, caption_justify="left")
    table.add_column("")
    for model in summaries:
        table.add_column(model, justify="right", overflow="fold")
    table.add_row("hypervolume", *(f"{summary.hypervolume:.3f}" for summary in summaries.values()))
    table.add_row("trials on the front", *(str(summary.front_size) for summary in summaries.values()))
    for label in dict.fromkeys(label for summary in summaries.values() for label in summary.reference):
        values = (_values(summary.reference.get(label), metrics) for summary in summaries.values())
        table.add_row(REFERENCE_NAMES.get(label, label), *values)
    best = {model: summary.best for model, summary in summaries.items()}
    table.add_row("best trade-off", *(_values(b.metrics, metrics) if b else "-" for b in best.values()))
    table.add_row("its trial", *(short_id(b.id, model) if b else "-" for model, b in best.items()))
    return table


def _values(metrics: Mapping[str, float | None] | None, wanted: list[str]) -> str:
    if not metrics:
        return "-"
    return " / ".join("-" if (value := metrics.get(m)) is None else f"{value:.2f}" for m in wanted)


def judges_table(front: FrontDocument, model: str) -> "Table | None":
    """One row per reference and front trial; None where a single judge spoke."""
    from rich.table import Table

    entries = named_entries(front, model)
    names = list(dict.fromkeys(name for _, entry in entries for name in entry.metrics))
    judges = [name.removeprefix(JUDGED) for name in names if name.startswith(JUDGED)]
    kappas = [name for name in names if name.startswith(KAPPA)]
    if len(judges) < 2 and not kappas:
        return None
    caption = "Attack success by each judge, in brackets the share without a verdict; kappa 1 is full agreement."
    labels = front.models[model].labels
    corrected = {judge: one.entries for judge, one in (labels.judges or {}).items()} if labels else {}
    if any(corrected.values()):
        caption += " Below: corrected by labels of people."
    table = Table(title=f"Judges of {model}", title_justify="left", caption=caption, caption_justify="left")
    table.add_column("", overflow="fold")
    for heading in (*judges, *(f"kappa {name.removeprefix(KAPPA).replace('/', ', ')}" for name in kappas)):
        table.add_column(heading, justify="right", overflow="fold")
    for who, entry in entries:
        metrics, key = entry.metrics, entry_key(front, model, entry)
        verdicts = (
            _verdicts(metrics.get(JUDGED + judge), metrics.get(UNKNOWN + judge))
            + _corrected(corrected.get(judge, {}).get(key), "\n")
            for judge in judges
        )
        agreement = ("-" if (value := metrics.get(name)) is None else f"{value:z.2f}" for name in kappas)
        name = short_id(who, model) if isinstance(entry, TrialEntry) else who
        table.add_row(name, *verdicts, *agreement)
    return table


def labelled_table(front: FrontDocument, model: str) -> "Table | None":
    """One row per judge: its rate, what labels make of it, and what it said of labelled answers; None with too few."""
    from rich.table import Table

    found = front.models[model].labels
    if found is None or not found.judges:
        return None
    words = "Attack success over the labelled references and trials; corrected: prediction-powered inference, 95 %."
    caption = "\n".join([words, *people_in_words(found)])
    title = f"Judges of {model} beside {found.labels} labels"
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    for heading in ("judge", "by it", "corrected", *CONFUSED, "kappa"):
        name = heading == "judge"
        table.add_column(heading, justify="left" if name else "right", overflow="fold", no_wrap=not name)
    for judge, one in found.judges.items():
        cells = (f"{cell:g}" for row in one.confusion for cell in row)
        kappa = "-" if one.kappa is None else f"{one.kappa:z.2f}"
        table.add_row(judge, f"{one.together.raw:.2f}", _corrected(one.together), *cells, kappa)
    return table


def _corrected(rate: CorrectedRate | None, before: str = "") -> str:
    return "" if rate is None else f"{before}{rate.value:.2f} [{_bound(rate.low)}, {_bound(rate.high)}]"


def _verdicts(rate: float | None, unknown: float | None) -> str:
    shown = "-" if rate is None else f"{rate:.2f}"
    return f"{shown} [{unknown:.1%}]" if unknown else shown
