"""``procon choose``: the trial to take by a rule, how sure that is, and what it costs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import OutputError
from orchestrator.front.choice import LIKELY, choose, parsed
from orchestrator.front.recorded_sweep import RecordedSweep
from orchestrator.front.resampled import Resampled
from orchestrator.front.schema.choice import Alternative, Choice
from orchestrator.record.folder import named
from orchestrator.report.console import CONSOLE_NAMES
from orchestrator.report.sentences import export_command, how_sure, percent, settings, surer, warning
from orchestrator.report.shown import short_id, short_metric
from orchestrator.terminal import Terminal

if TYPE_CHECKING:
    from rich.table import Table


NAMES, RULE, VALUES = 16, 8, 19
"""Characters that the columns of alternatives take."""

_KINDS = {
    "reference": "",
    "passed over": " (passed over)",
    "runner-up": " (next)",
    "surer": " (surer)",
    "beyond the rule": " (beyond)",
}


@dataclass(frozen=True)
class Chosen:
    """What a rule chooses of one model."""

    choice: Choice
    params: Mapping[str, Any]
    """Settings of the trial by dotted path; empty where there is none."""
    export: str | None
    """The command that writes its weights."""

    def as_json(self) -> dict[str, Any]:
        """What ``procon choose --json`` prints of a model."""
        return {**self.choice.as_json(), "params": dict(self.params), "export": self.export}


def choose_trials(directory: Path, rule: str | None, model: str | None, likely: float = LIKELY) -> dict[str, Chosen]:
    """What ``rule`` chooses in the sweep in ``directory``, by model.

    Args:
        directory: a sweep's output folder.
        rule: in the grammar of :mod:`sweeps.goals.choice_rule`; None takes the default.
        model: whose; None takes all.
        likely: probability with which the trial has to keep the rule.

    Raises:
        OutputError: there is no sweep or no such model, or nothing has finished.
        RuleError: the rule cannot be read.
    """
    sweep = RecordedSweep.read(directory)
    models = sweep.model(model)
    metrics = list(dict.fromkeys(metric for one in models for metric in one.metrics))
    if not metrics:
        raise OutputError(
            f"directory ({named(directory)}) holds no finished trial yet: see procon status {named(directory)}"
        )
    labels = list(dict.fromkeys(label for one in models for label in one.references))
    spec = sweep.spec
    asked = parsed(rule, spec.objectives, spec.feasible, metrics, labels)
    found = {}
    for one in models:
        choice = choose(asked, spec.objectives, one.trials, one.references, Resampled(sweep.answers), likely)
        params = next((p.record.params for p in one.trials if p.record.id == choice.trial), {})
        export = export_command(directory, choice.trial) if choice.trial else None
        found[one.name] = Chosen(choice, params, export)
    return found


def print_choices(found: Mapping[str, Chosen], console: Terminal) -> None:
    """Print what was chosen, why, how sure it is, what else there is, and how to get it."""
    for number, (model, chosen) in enumerate(found.items()):
        if number:
            console.say("")
        _print(model, chosen, console)


def _print(model: str, chosen: Chosen, console: Terminal) -> None:
    choice, say = chosen.choice, console.say
    if choice.trial is None:
        say((f"{model}: no choice", "bold red"))
        console.print(f"  {choice.note}", style="yellow")
        return
    good = choice.keeps and not choice.doubtful
    say((f"{model}: trial {short_id(choice.trial, model)}", "bold green" if good else "bold yellow"))
    console.print(f"  {settings(chosen.params)}")
    if told := warning(choice, model):
        console.print(told, style="bold yellow")
    console.print()
    if choice.keeps:
        likely = " that are likely to" if choice.other("passed over") is not None else ""
        why = f"Of {choice.finished} measured models {choice.kept_by} keep the rule. Of these{likely} it is the best."
    else:
        why = f"None of {choice.finished} measured models keeps the rule: this one comes nearest to it."
    console.print(" ".join(text for text in (why, how_sure(choice), surer(choice, model)) if text))
    console.print()
    console.print(_bounds_table(choice))
    console.print()
    console.print(_alternatives_table(model, choice, console.width))
    console.print()
    say(f"Its weights: {chosen.export}")


def _bounds_table(choice: Choice) -> "Table":
    from rich.table import Table

    table = Table(title="The rule", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", overflow="fold")
    for heading in ("limit", "it has", "how sure"):
        table.add_column(heading, justify="right", no_wrap=True)
    for bound in choice.bounds:
        name, _, rest = bound.bound.partition(" ")
        value = _with_interval(choice.metrics, choice.intervals, bound.metric)
        sure = "-" if bound.sure is None else percent(bound.sure, short=True)
        table.add_row(f"{short_metric(name)} {rest}", f"{bound.limit:.3f}", value, sure)
    bounded = {bound.metric for bound in choice.bounds}
    aims = [part for part in choice.rule.split(", ") if part.startswith(("min ", "max "))]
    for aim in aims:
        goal, metric = aim.split(" ", 1)
        if metric not in bounded:
            value = _with_interval(choice.metrics, choice.intervals, metric)
            table.add_row(f"{goal} {short_metric(metric)}", "", value, "")
    return table


def _alternatives_table(model: str, choice: Choice, width: int) -> "Table":
    """The metrics of each alternative, and below how far the chosen trial is from it; a row a metric where narrow."""
    from rich.table import Table

    table = Table(
        title="What else there is, and how far the chosen trial is from it",
        title_justify="left",
        caption="Brackets: 95 % intervals, paired by prompt. All values are of the report prompts.",
        caption_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    metrics = list(choice.metrics)
    wide = NAMES + RULE + len(metrics) * VALUES <= width + 2
    table.add_column("", min_width=NAMES - 2, no_wrap=True)
    headings = [short_metric(metric).replace("_", " ") for metric in metrics] if wide else ["it has", "difference"]
    table.add_column("keeps\nrule", justify="right", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right")
    for other in choice.alternatives:
        cells = [_difference(other, metric) for metric in metrics]
        sure = ("yes" if other.keeps else "no") if other.sure is None else percent(other.sure, short=True)
        name = CONSOLE_NAMES.get(other.id, other.id) if other.kind == "reference" else short_id(other.id, model)
        name += _KINDS[other.kind]
        if wide:
            table.add_row(name, sure, *("\n".join(cell) for cell in cells))
        else:
            table.add_row(name, sure)
            for metric, cell in zip(metrics, cells, strict=True):
                table.add_row(f"  {short_metric(metric)}", "", *cell)
    return table


def _difference(other: Alternative, metric: str) -> tuple[str, str]:
    """What it has, and the chosen trial minus that."""
    value, found = other.metrics.get(metric), other.differences.get(metric)
    difference = "" if found is None else f"{found.value:+.2f} [{_signed(found.low)},{_signed(found.high)}]"
    return "-" if value is None else f"{value:.2f}", difference


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("0.", ".", 1)


def _with_interval(
    metrics: Mapping[str, float | None], intervals: Mapping[str, tuple[float, float]], metric: str
) -> str:
    value = metrics.get(metric)
    if value is None:
        return "-"
    bounds = intervals.get(metric)
    return f"{value:.3f}" if bounds is None else f"{value:.3f} [{bounds[0]:.3f}, {bounds[1]:.3f}]"
