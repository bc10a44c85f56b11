"""The command line: thin verbs. Heavy packages are imported inside them, so that ``--help`` answers at once."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from orchestrator.cli.labels import label
from orchestrator.cli.models import direction, export, inspect, reproduce, train
from orchestrator.cli.options import Json
from orchestrator.cli.organism import organism
from orchestrator.cli.sweeps import answers, choose, compare, extend, front, init, plan, resume, run, status, stop, sync


class _Verbs(TyperGroup):
    """Typer's group of verbs, which quotes what was typed wrongly as signs and not as codes for the terminal."""

    def make_context(self, *words: Any, **settings: Any) -> Any:
        with _neutral_refusals():
            return super().make_context(*words, **settings)

    def invoke(self, ctx: Any) -> Any:
        with _neutral_refusals():
            return super().invoke(ctx)


@contextmanager
def _neutral_refusals() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(message := getattr(error, "message", None), str):
            from orchestrator.terminal import neutralised

            error.message = neutralised(message)  # type: ignore[attr-defined]
        raise


app = typer.Typer(
    name="procon",
    cls=_Verbs,
    help="Sweeps of safety-constrained fine-tuning (ProCon): find the trade-off between safety and utility.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


def _print_versions(wanted: bool) -> None:
    if wanted:
        from orchestrator.record.versions import versions
        from orchestrator.terminal import Terminal

        terminal = Terminal()
        for package, version in versions().items():
            terminal.say(f"{package} {version or 'is not installed'}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_versions, is_eager=True, help="Print versions and exit.")
    ] = False,
) -> None:
    """Holds what goes before a verb."""


for verb in (
    *(run, resume, extend, stop, status, plan, inspect, direction, train),
    *(front, choose, compare, answers, label, reproduce, export, sync),
):
    app.command()(verb)
app.add_typer(organism, name="organism")
app.command()(init)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check this machine: versions, GPUs, memory, disk, Ray, MLflow, cache, name clashes; exits with 1 on a fault."""
    from orchestrator.commands import doctor as machine_doctor
    from orchestrator.terminal import Terminal

    checks = machine_doctor.examine()
    if as_json:
        print(json.dumps(machine_doctor.as_json(checks), indent=2))
    else:
        machine_doctor.print_checks(checks, Terminal())
    if machine_doctor.worst(checks) == "fail":
        raise typer.Exit(1)


def main() -> None:
    """Entry point: faults a person can mend are sentences with exit code 2, bugs are tracebacks."""
    from orchestrator.terminal import complain, guard_errors

    guard_errors()
    try:
        app()
    except Exception as error:
        if not _is_ours(error):
            raise
        complain(str(error))
        sys.exit(2)


def _is_ours(error: Exception) -> bool:
    from orchestrator.errors import OrchestratorError
    from sweeps.errors import SpecError
    from training.errors import TrainingError

    return isinstance(error, OrchestratorError | SpecError | TrainingError)
