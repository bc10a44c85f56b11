"""The command line: thin verbs. Heavy packages are imported inside them, so that ``--help`` answers at once."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    name="procon",
    help="Sweeps of safety-constrained fine-tuning (ProCon): find the trade-off between safety and utility.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of tables.")]


@app.callback()
def _root() -> None:
    """Keeps ``run`` a subcommand."""


@app.command()
def run(
    spec: Annotated[str, typer.Argument(help="A sweep's YAML file, or the name of a preset such as demo.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=C", help="Change one field; repeatable; numbers reach into lists."),
    ] = None,
    out: Annotated[str | None, typer.Option(help="Output folder; left out: runs/<name>, then runs/<name>-2.")] = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to join, auto for this machine's; left out: a local Ray.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a sweep: references, searched trials, Pareto front, report and MLflow runs."""
    from rich.console import Console

    from orchestrator.summary import print_outcome
    from orchestrator.sweep import run_sweep
    from sweeps.load import load_spec

    loaded = load_spec(spec, overrides or [])
    outcome = run_sweep(loaded, out, address, Console(stderr=as_json))
    if as_json:
        print(json.dumps({"directory": str(outcome.directory), "front": outcome.front}, indent=2))
    else:
        print_outcome(outcome, Console())
    if outcome.interrupted:
        raise typer.Exit(130)
    if outcome.failed:
        raise typer.Exit(1)


@app.command()
def front(
    directories: Annotated[list[Path], typer.Argument(help="Output folders of sweeps.")],
    as_json: Json = False,
) -> None:
    """Show the Pareto front of each sweep that has run."""
    from rich.console import Console

    from orchestrator.summary import print_fronts, read_front

    fronts = {str(directory): read_front(directory) for directory in directories}
    if as_json:
        print(json.dumps(fronts, indent=2))
    else:
        print_fronts(fronts, Console())


Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Change one field; repeatable; numbers reach into lists."),
]


@app.command()
def train(
    spec: Annotated[str, typer.Argument(help="A sweep's YAML file, or the name of a preset such as demo.")],
    overrides: Overrides = None,
    model: Annotated[str | None, typer.Option(help="Name of the model in the spec. [default: the first]")] = None,
    out: Annotated[str | None, typer.Option(help="Output folder. [default: runs/<name>-train]")] = None,
    as_json: Json = False,
) -> None:
    """Run the one trial of a spec's trial block, without search and without Ray: measure, train, measure, save."""
    from rich.console import Console

    from orchestrator.train_command import print_train_outcome, train_one
    from sweeps.load import load_spec
    from training.errors import DivergedError

    loaded = load_spec(spec, overrides or [])
    try:
        outcome = train_one(loaded, model, out, Console(stderr=as_json))
    except DivergedError as error:
        print(f"procon: FAILED: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    if as_json:
        print(json.dumps(outcome.as_json(), indent=2))
    else:
        print_train_outcome(outcome, Console())
    if outcome.interrupted:
        raise typer.Exit(130)


@app.command()
def inspect(
    spec: Annotated[str, typer.Argument(help="A sweep's YAML file, or the name of a preset such as demo.")],
    overrides: Overrides = None,
    model: Annotated[str | None, typer.Option(help="Name of the model in the spec. [default: the first]")] = None,
    samples: Annotated[int, typer.Option(min=0, help="Samples to show of each source.")] = 3,
    split: Annotated[Literal["train", "test"], typer.Option(help="Which split.")] = "train",
    as_json: Json = False,
) -> None:
    """Show real samples with what is trained on and constrained, and what the maximum length does to all of them."""
    from rich.console import Console

    from orchestrator.inspect_samples import inspect as inspect_samples
    from orchestrator.inspect_samples import print_inspection
    from orchestrator.preflight import check_specification
    from orchestrator.train_command import chosen_model
    from sweeps.load import load_spec

    loaded = load_spec(spec, overrides or [])
    chosen = chosen_model(loaded, model)
    check_specification(loaded)
    found = inspect_samples(loaded, chosen, samples=samples, split=split)
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
    else:
        print_inspection(found, Console())


def main() -> None:
    """Entry point: faults a person can mend are sentences with exit code 2, bugs are tracebacks."""
    try:
        app()
    except Exception as error:
        if not _is_ours(error):
            raise
        for line in str(error).splitlines():
            print(f"procon: {line}", file=sys.stderr)
        sys.exit(2)


def _is_ours(error: Exception) -> bool:
    from orchestrator.errors import OrchestratorError
    from sweeps.errors import SpecError
    from training.errors import TrainingError

    return isinstance(error, OrchestratorError | SpecError | TrainingError)
