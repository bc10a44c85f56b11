"""Verbs about one model or one trial; :mod:`orchestrator.cli.app` puts them on the command line."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from orchestrator.cli.options import Directory, Json, Model, Overrides, Spec, Trial, sweep_or_specification


def train(
    spec: Spec,
    overrides: Overrides = None,
    model: Model = None,
    out: Annotated[str | None, typer.Option(help="Output folder. [default: runs/<name>-train]")] = None,
    as_json: Json = False,
) -> None:
    """Run the one trial of a spec's trial block, without search and without Ray: measure, train, measure, save."""
    from orchestrator.commands.train import print_train_outcome, train_one
    from orchestrator.terminal import Terminal, complain
    from sweeps.schema.load import load_spec
    from training.errors import DivergedError

    loaded = load_spec(spec, overrides or [])
    try:
        outcome = train_one(loaded, model, out, Terminal(stderr=as_json))
    except DivergedError as error:
        complain(f"FAILED: {error}")
        raise typer.Exit(1) from error
    if as_json:
        print(json.dumps(outcome.as_json(), indent=2))
    else:
        print_train_outcome(outcome, Terminal())
    if outcome.interrupted:
        raise typer.Exit(130)


def direction(
    spec: Annotated[
        str, typer.Argument(help="A sweep's YAML file or the name of a preset; or, for the drift, a sweep's folder.")
    ],
    overrides: Overrides = None,
    model: Model = None,
    trial: Annotated[list[str] | None, typer.Option(help="Of a sweep's folder: trials to show; repeatable.")] = None,
    out: Annotated[str | None, typer.Option(help="Output folder. [default: runs/<name>-direction]")] = None,
    as_json: Json = False,
) -> None:
    """Extract the refusal direction, check what it causes, recommend layers; or draw its drift in a sweep."""
    from orchestrator.commands.direction import extract_one, print_direction
    from orchestrator.commands.drift import draw_drift, is_sweep
    from orchestrator.terminal import Terminal, complain
    from sweeps.schema.load import load_spec

    spec = sweep_or_specification(spec)
    if is_sweep(spec):
        if overrides or model:
            raise typer.BadParameter("--set and --model go with a specification, not with a sweep's folder")
        drawn = draw_drift(Path(spec), trial or [], out)
        if as_json:
            print(json.dumps(drawn.as_json(), indent=2))
        else:
            Terminal().say(f"The drift of the direction is in {drawn.picture}")
        return
    if trial:
        raise typer.BadParameter("--trial goes with a sweep's folder, not with a specification")
    outcome = extract_one(load_spec(spec, overrides or []), model, out, Terminal(stderr=as_json))
    if as_json:
        print(json.dumps(outcome.as_json(), indent=2))
    else:
        print_direction(outcome, Terminal())
    if not outcome.report.passes:
        complain(f"FAILED: {outcome.model}: {outcome.report.sentence}")
        raise typer.Exit(1)


def inspect(
    spec: Spec,
    overrides: Overrides = None,
    model: Model = None,
    samples: Annotated[int, typer.Option(min=0, help="Samples to show of each source.")] = 3,
    split: Annotated[Literal["train", "test"], typer.Option(help="Which split.")] = "train",
    as_json: Json = False,
) -> None:
    """Show real samples with what is trained on and constrained, and what the maximum length does to all of them."""
    from orchestrator.commands.inspect_samples import inspect as inspect_samples
    from orchestrator.commands.inspect_table import print_inspection
    from orchestrator.commands.train import chosen_model
    from orchestrator.driver.preflight import check_specification
    from orchestrator.terminal import Terminal
    from sweeps.schema.load import load_spec

    loaded = load_spec(spec, overrides or [])
    chosen = chosen_model(loaded, model)
    check_specification(loaded, Terminal(stderr=True).say)
    found = inspect_samples(loaded, chosen, samples=samples, split=split)
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
    else:
        print_inspection(found, Terminal())


def reproduce(
    directory: Directory,
    trial: Trial,
    out: Annotated[Path | None, typer.Option(help="Output folder; left out: runs/<sweep>-<trial>-again.")] = None,
    answers: Annotated[
        bool, typer.Option("--answers", help="Keep the texts of its answers there, for procon answers.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run one trial of a sweep again and compare; exits with 1 where a rate leaves its recorded interval."""
    from orchestrator.commands.reproduce import print_reproduction
    from orchestrator.commands.reproduce import reproduce as run_again
    from orchestrator.terminal import Terminal, complain
    from training.errors import DivergedError

    try:
        result = run_again(directory, trial, out, Terminal(stderr=as_json), answers=answers)
    except DivergedError as error:
        complain(f"FAILED: {error}")
        raise typer.Exit(1) from error
    if as_json:
        print(json.dumps(result.as_json(), indent=2))
    else:
        print_reproduction(result, Terminal())
    if not result.within:
        raise typer.Exit(1)


def export(
    directory: Directory,
    trial: Trial,
    to: Annotated[Path, typer.Option(help="A new or empty folder.")],
    merged: Annotated[bool, typer.Option("--merged", help="Merge adapters into the model.")] = False,
    scale: Annotated[
        float | None, typer.Option(help="Of a scaled model of the trial, as --trial 11@0.5 names it too.")
    ] = None,
    register: Annotated[
        str | None, typer.Option(metavar="NAME", help="Make it the newest version of a registered model in MLflow.")
    ] = None,
    uri: Annotated[
        str | None, typer.Option(help="Store to register in. [default: $MLFLOW_TRACKING_URI, else runs/mlflow.db]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the weights of a trial with a card of its measurements, for transformers and PEFT."""
    from orchestrator.commands.export import export_trial
    from orchestrator.record.trials import scaled_id
    from orchestrator.terminal import Terminal

    if uri is not None and register is None:
        raise typer.BadParameter("--uri goes with --register NAME")
    named = trial if scale in (None, 1) else scaled_id(trial, scale)
    written = export_trial(directory, named, to, merged=merged, register_as=register, uri=uri)
    if as_json:
        print(json.dumps(written.as_json(), indent=2))
    else:
        Terminal().say(
            f"{written.trial} is in {written.directory} ({written.form}), with its measurements in README.md"
        )
        if written.registered:
            alias = f"alias {written.alias}" if written.alias else "no alias, since it is not on the front"
            Terminal().say(f"MLflow has it as {written.registered} ({alias})")
