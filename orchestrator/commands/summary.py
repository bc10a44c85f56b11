"""The last words of a sweep: its front, its references, where everything is, and what to do next."""

import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.padding import Padding
from rich.text import Text

from orchestrator.driver.progress import duration
from orchestrator.driver.resume_command import resume_command
from orchestrator.driver.sweep import Outcome
from orchestrator.front.schema.document import FrontDocument
from orchestrator.record.folder import JOURNAL, named, short_name, short_path
from orchestrator.record.trials import Status
from orchestrator.report.console import render_table
from orchestrator.report.plots.data import plot_data
from orchestrator.report.text_scatter import text_scatter
from orchestrator.terminal import Terminal
from orchestrator.tracking.views import page
from training.secrets import without_login


def print_outcome(outcome: Outcome, console: Terminal) -> None:
    """Print what ``procon run`` ends with."""
    print_fronts({named(outcome.directory): outcome.front}, console)
    _print_failures(outcome, console)
    say = console.say
    took = duration(outcome.seconds_before + outcome.seconds)
    if outcome.seconds and outcome.seconds_before:
        took += f" in all, {duration(outcome.seconds)} of it now"
    ended = f"stopped after {took} ({outcome.stopped})" if outcome.stopped else f"took {took}"
    say(f"\nThe sweep {ended}. It left in {short_path(outcome.directory)}:")
    for name, meaning in (
        (outcome.files.front_html, "the front, to open in a browser"),
        (outcome.files.answers_html, "some of what the models answer"),
        (outcome.files.front_png, "the same as a picture"),
        (outcome.files.course_png, "drift and refusals, step by step"),
        (outcome.files.front_json, "the same for scripts"),
        (outcome.files.trials_parquet, "every trial, every metric"),
        (outcome.directory / JOURNAL, "everything that happened"),
    ):
        if name is not None:
            say(f"  {name.name:<16} {meaning}")
    if any(body.choice and body.choice.trial for body in outcome.front.models.values()):
        say(f"Which trial to take, and why: procon choose {shlex.quote(short_name(outcome.directory))}")
    _print_mlflow(outcome, say)
    if outcome.undelivered:
        waiting = f"{outcome.undelivered} MLflow events could not be delivered; the journal has them all, and"
        say((f"{waiting} this delivers them once MLflow answers: {_resume(outcome)}", "yellow"))
    if outcome.stopped:
        say(f"Go on with: {_resume(outcome)}")


def _resume(outcome: Outcome) -> str:
    return resume_command(outcome.directory, outcome.address, outcome.stopped)


def print_fronts(fronts: Mapping[str, FrontDocument], console: Terminal) -> None:
    """Print the tables of one or several sweeps."""
    for directory, front in fronts.items():
        if len(fronts) > 1:
            console.rule(directory)
        data = plot_data(directory, front)
        for panel in data.panels:
            limited = console.options.ascii_only or console.is_dumb_terminal
            for line in text_scatter(data, panel, console.width, ascii_only=limited):
                console.print(Text(line))
        for table in render_table(front):
            console.print(table)
        print_notes(front, console)


def print_notes(front: FrontDocument, console: Terminal) -> None:
    """Print what deserves a second look; an empty front has its reason in its table already."""
    found = [note for note in front.notes if note.check != "nothing feasible"]
    if not found:
        return
    several = len(front.models) > 1
    console.print("\nWorth a second look:", style="bold")
    for note in found:
        model = f"{note.model}: " if several and note.model else ""
        console.print(Padding(Text(f"{model}{note.sentence}"), (0, 0, 0, 2)))


def _print_failures(outcome: Outcome, console: Terminal) -> None:
    for model in outcome.given_up:  # the notes have said why
        again = f"once that is mended: {_resume(outcome)}"
        console.say((f"{model} was given up before its first trial;", "red"), f" {again}")
    for record in outcome.records:
        if record.status is Status.FAILED and not record.unprepared:
            reason = (record.error or "unknown").strip().splitlines()[-1]
            console.say((f"{record.id} failed:", "red"), f" {reason}")


def _print_mlflow(outcome: Outcome, say: Callable[[str], None]) -> None:
    """How to see the same runs in MLflow; without the workflow type, a fresh browser opens a view that hides them."""
    uri, experiment = outcome.tracking_uri, outcome.experiment_id
    server = uri.startswith(("http://", "https://"))
    address = without_login(uri.rstrip("/")) if server else "http://127.0.0.1:5000"
    if server:
        say("MLflow has the same runs:")
    else:
        command = short_path(Path(sys.executable).with_name("mlflow"))
        say(f"MLflow has the same runs: {command} server --backend-store-uri {shlex.quote(_short_uri(uri))}")
    if experiment is None:
        return
    say(f"  all runs         {page(address, experiment)}")
    for model, run in outcome.parent_runs.items():
        say(f"  front of {model:<8} {address}/#/experiments/{experiment}/runs/{run}/artifacts/front.html")


def _short_uri(uri: str) -> str:
    """An SQLite URI relative to where we are, where that is shorter and means the same."""
    prefix = "sqlite:///"
    return prefix + short_path(Path(uri.removeprefix(prefix))) if uri.startswith(prefix) else uri
