"""``procon compare``: the models of one or several sweeps side by side, each in its own units."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import OutputError
from orchestrator.front.basis import Compared
from orchestrator.front.comparison import compare
from orchestrator.front.recorded_sweep import RecordedSweep
from orchestrator.front.schema.comparison import ModelComparison
from orchestrator.record.folder import last_name, named
from orchestrator.record.separations import read_separations
from orchestrator.report.sentences import settings
from orchestrator.report.shown import format_value
from orchestrator.report.side_by_side import leads_in_words, span_in_words
from orchestrator.terminal import Terminal

if TYPE_CHECKING:
    from rich.table import Table


def compare_sweeps(directories: Sequence[Path], rule: str | None = None) -> ModelComparison:
    """The models of the sweeps in ``directories``.

    Raises:
        OutputError: a folder holds no sweep or is named twice, or nothing has been measured.
        ComparisonError: they have nothing in common to be compared on.
        RuleError: the rule cannot be read.
    """
    found = [one for directory in _distinct(directories) for one in compared_in(directory, len(directories) > 1)]
    if not found:
        raise OutputError(f"directory ({directories[0]}) holds no measured trial yet: see procon status")
    return compare(_named_apart(found), rule)


def compared_in(directory: Path, several: bool) -> list[Compared]:
    """The models of the sweep in ``directory``; named with its folder where there are ``several``."""
    sweep = RecordedSweep.read(directory)
    where = str(directory) if several else None
    return [
        Compared(
            name=f"{last_name(directory)}/{name}" if several else name,
            model=model,
            spec=sweep.spec,
            answers=sweep.answers,
            sweep=where,
            separations=read_separations(directory, name),
        )
        for name, model in sweep.models.items()
    ]


def _distinct(directories: Sequence[Path]) -> Sequence[Path]:
    seen: dict[Path, Path] = {}
    for directory in directories:
        if directory.resolve() in seen:
            raise OutputError(f"directory ({named(directory)}) is named twice: name each sweep once")
        seen[directory.resolve()] = directory
    return directories


def _named_apart(found: Sequence[Compared]) -> list[Compared]:
    """Sweeps in folders of one name are told apart by the whole folder."""
    from dataclasses import replace

    names = [one.name for one in found]
    return [replace(one, name=f"{one.sweep}/{one.model.name}") if names.count(one.name) > 1 else one for one in found]


def write_comparison(found: ModelComparison, folder: Path) -> tuple[Path, ...]:
    """Write ``comparison.html``, ``.png`` and ``.json`` into ``folder``, and return where they lie.

    Raises:
        OutputError: the folder cannot be made or written.
    """
    from orchestrator.report.files import write_comparison_files

    try:
        folder.mkdir(parents=True, exist_ok=True)
        return write_comparison_files(found, folder)
    except OSError as error:
        raise OutputError(f"--out ({folder}) cannot be written: {error.strerror or error}") from error


def keep_comparison(found: ModelComparison, out: Path | None, *, mlflow: bool) -> list[str]:
    """Write ``found`` into the folder ``out`` and log it in MLflow, as far as asked, and return what to say of it.

    Raises:
        OutputError: the folder cannot be written, or MLflow is wanted without one.
        TrackingError: the store cannot be used.
    """
    if out is None:
        if mlflow:
            raise OutputError("--mlflow logs what --out writes: name a folder with --out DIR")
        return []
    files = write_comparison(found, out)
    said = [f"{files[0]} shows it in a browser."]
    if mlflow:
        from orchestrator.tracking.comparison_run import EXPERIMENT, log_comparison
        from orchestrator.tracking.store import check_tracking, default_tracking_uri

        uri, location = default_tracking_uri(out)
        check_tracking(uri)
        compared = sorted(f"{model.sweep or ''}/{model.name}" for model in found.models)
        run = log_comparison(found, files, uri, location, "\n".join([*compared, found.rule, str(out.resolve())]))
        said.append(f"MLflow at {uri} has it as run {run} of the experiment {EXPERIMENT}.")
    return said


def print_comparison(found: ModelComparison, console: Terminal) -> None:
    """Print the models, who leads where, and what carries over."""
    for sentence in found.basis:
        console.print(sentence, style="dim")
    console.print()
    console.print(_models_table(found))
    for model in found.models:
        if model.note:
            console.print(f"{model.name}: {model.note}", style="yellow")
    if len(found.models) > 1:
        console.print()
        console.print(_levels_table(found))
        for sentence in leads_in_words(found):
            console.print(sentence)
    if found.settings:
        console.print()
        console.print(_settings_table(found))
    console.print()
    _print_chosen(found, console)


def _models_table(found: ModelComparison) -> "Table":
    caption = (
        "Shares of what each model's own plain fine-tuning lost (safety) and gained (task). Hypervolume: share of the "
        "unit square, 1 is all safety at all of the gain. Brackets: 95 % intervals."
    )
    table = _table("The models compared", caption)
    for heading, right in (("", False), ("hyper-\nvolume", True), ("safety\nlost", True), ("task\ngained", True)):
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    table.add_column("front", justify="right")
    table.add_column("safety data alone\nsafety / task", justify="right")
    for model in found.models:
        if model.hypervolume is None:
            table.add_row(model.name, "-", "-", "-", "-", "-")
            continue
        beside = model.reference
        table.add_row(
            model.name,
            _two(model.hypervolume),
            _two(model.lost),
            _two(model.gained),
            str(len(model.front)),
            f"{beside.safety.value:.2f} / {beside.utility.value:.2f}" if beside is not None else "-",
        )
    return table


def _levels_table(found: ModelComparison) -> "Table":
    table = _table("Share of lost safety regained, by the share of the task gain that is kept", "")
    levels = list(dict.fromkeys(at.level for model in found.models for at in model.at))
    table.add_column("", overflow="fold")
    for level in levels:
        table.add_column(f"{level:.0%}".replace("%", " %"), justify="right")
    for model in found.models:
        at = {one.level: one.safety for one in model.at}
        table.add_row(model.name, *(_two(at.get(level)) for level in levels))
    return table


def _settings_table(found: ModelComparison) -> "Table":
    """A row a model under each setting, so that it stays narrow with many models."""
    table = _table("Which settings carry over: where the fronts have them", "")
    for heading in ("", "the front", "the chosen trial"):
        table.add_column(heading, overflow="fold")
    for row in found.settings:
        common = "nothing in common" if row.common is None else f"{span_in_words(row.common)} on all"
        table.add_row(row.setting, common, "")
        for model in found.models:
            if model.name in row.fronts:
                chosen = format_value(row.chosen[model.name]) if model.name in row.chosen else ""
                table.add_row(f"  {model.name}", span_in_words(row.fronts[model.name]), chosen)
    return table


def _print_chosen(found: ModelComparison, console: Terminal) -> None:
    console.print(f"By the rule {found.rule}:")
    for model in found.models:
        point = next((point for point in model.front if point.id == model.chosen), None)
        if model.chosen is None:
            console.print(f"  {model.name}: none")
            continue
        kept = "" if model.kept else " (comes nearest; none keeps the rule)"
        at = f": safety {point.safety}, task {point.utility}; {settings(point.params)}" if point is not None else ""
        bend = f"; the front bends at {model.knee}" if model.knee else ""
        console.print(f"  {model.name}: {model.chosen}{kept}{at}{bend}")


def _two(value: object) -> str:
    """A value with its interval below it."""
    return "-" if value is None else str(value).replace(" ", "\n", 1).replace("0.", ".")


def _table(title: str, caption: str) -> "Table":
    from rich.table import Table

    return Table(
        title=title,
        title_justify="left",
        caption=caption or None,
        caption_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
