"""The command line: thin verbs. Heavy packages are imported inside them, so that ``--help`` answers at once."""

import json
import sys
from pathlib import Path
from typing import Annotated

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
