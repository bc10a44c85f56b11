"""The verb with which people label answers; :mod:`orchestrator.cli.app` puts it on the command line."""

import getpass
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import Directory, Json

if TYPE_CHECKING:
    from orchestrator.terminal import Terminal


def label(
    directory: Directory,
    trials: Annotated[
        list[str] | None, typer.Option("--trial", help="Only answers of this trial or reference; repeatable.")
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="Labels to have of you in the end; left out: 50 for each model.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the order; the same for all who shall label the same answers.")] = 0,
    labeller: Annotated[str | None, typer.Option(help="Your name; left out: the one you are logged in by.")] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Write the answers to this CSV file instead, to be labelled elsewhere.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Take in the labels of such a file, filled in.")] = None,
    report: Annotated[bool, typer.Option("--report", help="Show what the labels say of the judges.")] = False,
    as_json: Json = False,
) -> None:
    """Label answers by hand, so that the rates of judges are corrected: blinded, one key each, resumable.

    Shows answers to harmful prompts of references and front one by one, in an order that covers all of them and both
    verdicts of the judge, without saying whose they are. With 50 labels or more, procon front, the page and --report
    show each judge's rate corrected by them, beside the raw one.
    """
    from orchestrator.terminal import Terminal

    if sum((sheet is not None, file is not None, report)) > 1:
        raise typer.BadParameter("--sheet, --file and --report each go alone")
    if as_json and not report:
        raise typer.BadParameter("--json goes with --report")
    console = Terminal()
    changed = not report and _label(directory, trials or [], count, seed, _person(labeller), sheet, file, console)
    if sheet is not None:
        return
    from orchestrator.commands.label_report import print_labels, refresh_report
    from orchestrator.front.front_file import read_front

    front = read_front(directory)
    if as_json:
        found = {model: body.labels for model, body in front.models.items()}
        print(json.dumps({model: one and one.model_dump() for model, one in found.items()}, indent=2))
        return
    print_labels(front, console)
    if changed and not refresh_report(directory, front):
        console.say("The sweep is running: its report will know the labels when it ends; procon front knows them now.")


def _label(
    directory: Path,
    trials: list[str],
    count: int | None,
    seed: int,
    labeller: str,
    sheet: Path | None,
    file: Path | None,
    console: "Terminal",
) -> bool:
    """Whether labels have changed."""
    from orchestrator.commands.label import label_answers
    from orchestrator.commands.label_items import find_items
    from orchestrator.commands.label_sheets import read_sheet, write_sheet
    from orchestrator.errors import OutputError
    from orchestrator.front.labelled import NEEDED
    from orchestrator.record.labels import add_labels, labels_digest

    work = find_items(directory, trials, seed)
    wanted = count or NEEDED * work.models
    before = labels_digest(work.labels)
    if sheet is not None:
        written = write_sheet(work, sheet, wanted, labeller)
        console.say(
            f"{written} answers are in {sheet}: fill in the column label with {', '.join(work.words)} or unsure, then "
            f"procon label {directory} --file {sheet}"
        )
    elif file is not None:
        found = read_sheet(work, file, labeller)
        add_labels(directory, found)
        console.say(f"{len(found)} labels of {', '.join(sorted({one.labeller for one in found}))} were taken in.")
    elif not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise OutputError(
            "procon label shows answers in a terminal, and this is none: --sheet FILE writes them to a file, and "
            "--file FILE takes it back with labels"
        )
    else:
        label_answers(work, labeller, wanted, console, typer.getchar)
    return labels_digest(work.labels) != before


def _person(labeller: str | None) -> str:
    """Whose labels these are.

    Raises:
        OutputError: the name is blank.
    """
    from orchestrator.errors import OutputError

    try:
        name = (getpass.getuser() if labeller is None else labeller).strip()
    except (OSError, KeyError, ImportError):  # a container may run under a number that has no name
        name = "me"
    if not name:
        raise OutputError("--labeller ('') is blank: give a name that tells your labels from those of others")
    return name
