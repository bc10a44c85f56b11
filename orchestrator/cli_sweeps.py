"""Verbs that run, steer and show whole sweeps; :mod:`orchestrator.cli` puts them on the command line."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator.cli_options import Address, Directory, Json, Overrides, Spec
from orchestrator.output import INTERRUPTED

if TYPE_CHECKING:
    from orchestrator.sweep import Outcome


def init(
    preset: Annotated[str | None, typer.Argument(help="Name of a preset; left out: all of them.")] = None,
    to: Annotated[Path | None, typer.Option(help="File to write; left out: <preset>.yaml here.")] = None,
) -> None:
    """Copy a preset into a file of your own, to be edited; without a name, show what there is."""
    from orchestrator.init_command import copy_preset
    from sweeps.spec_files import preset_names, preset_title

    if preset is None:
        width = max(map(len, preset_names()))
        for name in preset_names():
            print(f"{name:{width}}  {preset_title(name)}")
        return
    file = copy_preset(preset, to)
    print(f"{file} is yours: edit it, then procon plan {file}")


def run(
    spec: Spec,
    overrides: Overrides = None,
    out: Annotated[str | None, typer.Option(help="Output folder; left out: runs/<name>, then runs/<name>-2.")] = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Run a sweep: references, searched trials, Pareto front, report and MLflow runs."""
    from rich.console import Console

    from orchestrator.sweep import run_sweep
    from sweeps.load import load_spec

    loaded = load_spec(spec, overrides or [])
    _tell(run_sweep(loaded, out, address, Console(stderr=as_json)), as_json)


def resume(
    directory: Directory,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Change one field of the recorded spec.")
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Go on though the spec differs from the recorded one.")
    ] = False,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Go on with a sweep that was stopped or killed: what ended stays, half-trained trials go on."""
    from rich.console import Console

    from orchestrator.screen import sayer
    from orchestrator.session import Session
    from orchestrator.sweep import drive

    console = Console(stderr=as_json)
    session = Session.again(directory, overrides or [], accept=accept, address=address, say=sayer(console))
    _tell(drive(session, address, console), as_json)


def extend(
    directory: Directory,
    trials: Annotated[int, typer.Option(min=1, help="Searched trials to add, per model.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=C", help="Change the space or another field; recorded. Needs --accept."),
    ] = None,
    accept: Annotated[bool, typer.Option("--accept", help="Take the changes of --set.")] = False,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Add trials to a sweep, with a search that knows all earlier ones."""
    from rich.console import Console

    from orchestrator.screen import sayer
    from orchestrator.session import Session
    from orchestrator.sweep import drive

    console = Console(stderr=as_json)
    say = sayer(console)
    session = Session.again(directory, overrides or [], more=trials, accept=accept, address=address, say=say)
    _tell(drive(session, address, console), as_json)


def _tell(outcome: "Outcome", as_json: bool) -> None:
    """What a sweep ends with: its front, where everything is, and the exit code."""
    from rich.console import Console

    from orchestrator.summary import print_outcome

    if as_json:
        print(json.dumps({"directory": str(outcome.directory), "front": outcome.front}, indent=2))
    else:
        print_outcome(outcome, Console())
    if outcome.stopped == INTERRUPTED:
        raise typer.Exit(130)
    if outcome.failed:
        raise typer.Exit(1)


def stop(
    directory: Directory,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the end; 0 returns at once.")] = 120.0,
) -> None:
    """End a running sweep cleanly from another shell; procon resume goes on with it."""
    from orchestrator.stop_command import request_stop

    if request_stop(directory, wait):
        print(f"{directory} has stopped; go on with: procon resume {directory}")
    elif wait:
        print(f"procon: {directory} was asked to stop and is still at it after {wait:g} s", file=sys.stderr)
        raise typer.Exit(1)


def front(
    directories: Annotated[list[Path], typer.Argument(help="Output folders of sweeps.")],
    as_json: Json = False,
) -> None:
    """Show the Pareto front of each sweep, so far where it has not ended."""
    from rich.console import Console

    from orchestrator.front_file import read_front
    from orchestrator.summary import print_fronts

    fronts = {str(directory): read_front(directory) for directory in directories}
    if as_json:
        print(json.dumps(fronts, indent=2))
    else:
        print_fronts(fronts, Console())


def answers(
    directory: Directory,
    trial: Annotated[str, typer.Option(help="Id of a trial or reference, as procon front shows it.")],
    name: Annotated[str | None, typer.Option("--set", help="Only one prompt set, or one attack.")] = None,
    refused: Annotated[
        Literal["yes", "no", "unknown"] | None, typer.Option(help="Only refused answers, or the others.")
    ] = None,
    correct: Annotated[Literal["yes", "no"] | None, typer.Option(help="Only right answers, or wrong ones.")] = None,
    split: Annotated[Literal["select", "report"] | None, typer.Option(help="Only one half of the prompts.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Answers to show; 0 shows all.")] = 20,
    as_json: Json = False,
) -> None:
    """Read what a trial answered, with the verdicts on it."""
    from rich.console import Console

    from orchestrator.answers import Wanted, read_answers
    from orchestrator.answers_table import print_answers

    found = read_answers(directory, trial, Wanted(name, refused, correct, split))
    if as_json:
        print(json.dumps(found[:limit] if limit else found, indent=2))
    else:
        print_answers(found, trial, Console(), limit)


def plan(
    spec: Spec,
    overrides: Overrides = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster whose resources count, auto for this machine's; left out: ours.")
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Measure a few steps and one evaluation here; kept for later plans.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check a sweep and show what it would run, how long it takes, what it costs and whether it fits.

    Exits with 2 where procon run would refuse, also where only this machine is what does not suit.
    """
    from rich.console import Console

    from orchestrator.plan import make_plan
    from orchestrator.plan_table import plan_json, print_plan
    from orchestrator.screen import sayer
    from sweeps.load import load_spec

    loaded = load_spec(spec, overrides or [])
    measure = None
    if profile:
        from orchestrator.plan_profile import profiler

        measure = profiler(loaded, Console(stderr=as_json))
    found = make_plan(loaded, address, measure, say=sayer(Console(stderr=True)))
    if as_json:
        print(json.dumps(plan_json(found), indent=2))
    else:
        print_plan(found, Console())
    if found.refusal:
        print(f"procon: {found.refusal}", file=sys.stderr)
        raise typer.Exit(2)


def status(directory: Directory, as_json: Json = False) -> None:
    """Show how a sweep stands, from any shell: trials, best so far, time left, budget."""
    from rich.console import Console

    from orchestrator.status import sweep_status
    from orchestrator.status_table import print_status

    found = sweep_status(directory)
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
    else:
        print_status(found, Console())
