"""Verbs that run, steer and show whole sweeps; :mod:`orchestrator.cli.app` puts them on the command line."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator.cli.options import Address, Directories, Directory, Driven, Json, Overrides, Spec, Steered
from orchestrator.record.folder import INTERRUPTED, last_name, named

if TYPE_CHECKING:
    from orchestrator.driver.sweep import Outcome


def init(
    preset: Annotated[str | None, typer.Argument(help="Name of a preset; left out: all of them.")] = None,
    to: Annotated[Path | None, typer.Option(help="File to write; left out: <preset>.yaml here.")] = None,
) -> None:
    """Copy a preset into a file of your own, to be edited; without a name, show what there is."""
    from orchestrator.commands.init import copy_preset
    from orchestrator.terminal import Terminal
    from sweeps.schema.spec_files import preset_names, preset_title

    if preset is None:
        width = max(map(len, preset_names()))
        for name in preset_names():
            Terminal().say(f"{name:{width}}  {preset_title(name)}")
        return
    file = copy_preset(preset, to)
    Terminal().say(f"{file} is yours: edit it, then procon plan {file}")


def run(
    spec: Spec,
    overrides: Overrides = None,
    out: Annotated[
        str | None, typer.Option(help="Output folder, or s3://bucket/place; left out: runs/<name>, then runs/<name>-2.")
    ] = None,
    address: Address = None,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Measure the references though an earlier sweep did; PROCON_FRESH=1 does so too."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a sweep: references, searched trials, Pareto front, report and MLflow runs."""
    from orchestrator.driver.sweep import run_sweep
    from orchestrator.terminal import Terminal
    from sweeps.schema.load import load_spec

    loaded = load_spec(spec, overrides or [])
    _tell(run_sweep(loaded, out, address, Terminal(stderr=as_json), fresh=fresh), as_json)


def resume(
    directory: Driven,
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
    from orchestrator.driver.session import Session
    from orchestrator.driver.sweep import drive
    from orchestrator.terminal import Terminal

    console = Terminal(stderr=as_json)
    session = Session.again(directory, overrides or [], accept=accept, address=address, say=console.say)
    _tell(drive(session, address, console), as_json)


def extend(
    directory: Driven,
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
    from orchestrator.driver.session import Session
    from orchestrator.driver.sweep import drive
    from orchestrator.terminal import Terminal

    console = Terminal(stderr=as_json)
    say = console.say
    session = Session.again(directory, overrides or [], more=trials, accept=accept, address=address, say=say)
    _tell(drive(session, address, console), as_json)


def _tell(outcome: "Outcome", as_json: bool) -> None:
    """What a sweep ends with: its front, where everything is, and the exit code."""
    from orchestrator.commands.summary import print_outcome
    from orchestrator.terminal import Terminal

    if as_json:
        told = {"directory": str(outcome.directory), "stopped": outcome.stopped, "front": outcome.front.as_json()}
        print(json.dumps(told, indent=2))
    else:
        print_outcome(outcome, Terminal())
    if outcome.stopped == INTERRUPTED:
        raise typer.Exit(130)
    if outcome.failed:
        raise typer.Exit(1)


def stop(
    directory: Steered,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the end; 0 returns at once.")] = 120.0,
) -> None:
    """End a running sweep cleanly from another shell; procon resume goes on with it."""
    from orchestrator.commands.stop import request_stop
    from orchestrator.terminal import Terminal, complain

    if request_stop(directory, wait):
        Terminal().say(f"{named(directory)} has stopped; go on with: procon resume {named(directory)}")
    elif wait:
        complain(f"{named(directory)} was asked to stop and is still at it after {wait:g} s")
        raise typer.Exit(1)


def _print_schema(wanted: bool) -> None:
    if wanted:
        from orchestrator.front.schema.published import json_schema

        print(json.dumps(json_schema(), indent=2))
        raise typer.Exit


def front(
    directories: Directories,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print every trial as a row of CSV.")] = False,
    schema: Annotated[
        bool,
        typer.Option("--schema", is_eager=True, callback=_print_schema, help="Print the JSON schema of front.json."),
    ] = False,
    figure: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]FILE", help="Draw the front, or course=FILE: .pdf, .svg or .png; repeatable."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Let --figure replace a file that is not a figure of ours.")
    ] = False,
) -> None:
    """Show the Pareto front of each sweep, so far where it has not ended."""
    from orchestrator.commands.summary import print_fronts
    from orchestrator.front.front_file import read_front
    from orchestrator.terminal import Terminal

    if figure and (len(directories) > 1 or as_json or as_csv):
        raise typer.BadParameter("--figure draws one sweep, and goes with neither --json nor --csv")
    if figure:
        from orchestrator.report.figures import Wanted, write_figures

        wanted = [Wanted.parse(text, force=force) for text in figure]
        write_figures(last_name(directories[0]), read_front(directories[0]), wanted)
        for one in wanted:
            Terminal().say(f"The {one.figure} is drawn in {one.file}")
        return
    fronts = {named(directory): read_front(directory) for directory in directories}
    if as_csv:
        from orchestrator.report.files import trials_csv
        from orchestrator.terminal import neutralised

        print(neutralised(trials_csv(fronts)), end="")
    elif as_json:
        print(json.dumps({directory: found.as_json() for directory, found in fronts.items()}, indent=2))
    else:
        print_fronts(fronts, Terminal())


def choose(
    directory: Directory,
    rule: Annotated[
        str | None,
        typer.Option(help='Such as "over_refusal <= .05, accuracy >= ift - .01, min attack_success_rate".'),
    ] = None,
    sure: Annotated[
        float,
        typer.Option(min=0, max=1, help="Probability with which it has to keep the rule, by prompts not chosen by."),
    ] = 0.5,
    model: Annotated[str | None, typer.Option(help="Name of one model. [default: all]")] = None,
    as_json: Json = False,
) -> None:
    """Choose a trial by a rule: which, why, how sure, what it costs, and how to get its weights.

    Without a rule: the safest trial that keeps the sweep's own rules and whose utility is at most .02 behind plain
    fine-tuning.
    """
    from orchestrator.commands.choose import choose_trials, print_choices
    from orchestrator.terminal import Terminal

    found = choose_trials(directory, rule, model, sure)
    if as_json:
        print(json.dumps({name: one.as_json() for name, one in found.items()}, indent=2))
    else:
        print_choices(found, Terminal())


def compare(
    directories: Directories,
    rule: Annotated[
        str | None, typer.Option(help="By which a trial of each model is chosen, as of procon choose.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for comparison.html and comparison.json.")] = None,
    mlflow: Annotated[
        bool, typer.Option("--mlflow", help="Log it as a run of the experiment procon comparisons. Needs --out.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Set the models of one or several sweeps side by side: shares of lost safety regained, of task gain kept."""
    from orchestrator.commands.compare import compare_sweeps, keep_comparison, print_comparison
    from orchestrator.terminal import Terminal

    found = compare_sweeps(directories, rule)
    said = keep_comparison(found, out, mlflow=mlflow)
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
    else:
        print_comparison(found, Terminal())
        for line in said:
            Terminal().say(line)


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
    from orchestrator.commands.answers_table import print_answers
    from orchestrator.record.answers import Wanted, read_answers
    from orchestrator.terminal import Terminal

    found = read_answers(directory, trial, Wanted(name, refused, correct, split))
    if as_json:
        print(json.dumps(found[:limit] if limit else found, indent=2))
    else:
        print_answers(found, directory, trial, Terminal(), limit)


def _checked_place(out: str | None) -> str | None:
    """The address that a sweep may be begun at; None for a folder."""
    from orchestrator.driver.stored import check_new
    from orchestrator.record.folder import check_output
    from training.storage.address import checked, is_address

    if out is None or not is_address(out):
        if out is not None:
            check_output(out)
        return None
    address = checked(out)
    check_new(address)
    return address


def plan(
    spec: Spec,
    overrides: Overrides = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster whose resources count, auto for this machine's; left out: ours.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="s3://bucket/place that the sweep would be in: checked, and what it would get.")
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Measure a few steps and one evaluation here; kept for later plans.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check a sweep and show what it would run, how long it takes, what it costs and whether it fits.

    Exits with 2 where procon run would refuse, also where only this machine is what does not suit.
    """
    from orchestrator.commands.plan.bucket import BucketUse
    from orchestrator.commands.plan.estimate import make_plan
    from orchestrator.commands.plan.table import plan_json, print_plan
    from orchestrator.terminal import Terminal, complain
    from sweeps.schema.load import load_spec

    loaded = load_spec(spec, overrides or [])
    place = _checked_place(out)
    measure = None
    if profile:
        from orchestrator.commands.plan.profile import profiler

        measure = profiler(loaded, Terminal(stderr=as_json))
    found = make_plan(loaded, address, measure, say=Terminal(stderr=True).say)
    use = None if place is None else BucketUse.of(found, place)
    if as_json:
        print(json.dumps(plan_json(found) | {"bucket": use and vars(use)}, indent=2))
    else:
        print_plan(found, Terminal())
        if use is not None:
            Terminal().say(use.sentence)
    if found.refusal:
        complain(found.refusal)
        raise typer.Exit(2)


def sync(
    directory: Directory,
    uri: Annotated[
        str | None, typer.Option(help="MLflow tracking URI. [default: $MLFLOW_TRACKING_URI, else runs/mlflow.db]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Rebuild a sweep's runs and front in any MLflow store from its journal; what is there already stays."""
    from orchestrator.driver.sync import sync as deliver
    from orchestrator.driver.sync import synced_in_words
    from orchestrator.terminal import Terminal

    found = deliver(directory, uri)
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
    else:
        Terminal().say(synced_in_words(found, directory))
    if found.undelivered:
        raise typer.Exit(1)


def status(
    directory: Steered,
    as_json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again whenever it changes, until the sweep ends.")] = False,
) -> None:
    """Show how a sweep stands, from any shell: trials, best so far, time left, budget."""
    from orchestrator.commands.status import sweep_status
    from orchestrator.commands.status_table import print_status, watch_status
    from orchestrator.terminal import Terminal

    if watch and not as_json:
        watch_status(directory, Terminal())
        return
    found = sweep_status(directory)
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
    else:
        print_status(found, Terminal())
