"""Verbs about the embedded models."""

import json
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import Json

organism = typer.Typer(help="The embedded models, which come with the package.", no_args_is_help=True)


@organism.callback()
def _group() -> None:
    """Keeps ``build`` a verb of its own: Typer would make a group's only verb the group."""


@organism.command()
def build(
    name: Annotated[str, typer.Argument(help="organism or organism/small.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the build; the shipped models have seed 0.")] = 0,
    to: Annotated[Path | None, typer.Option(help="Parent of the model's folder. [default: a temporary one]")] = None,
    as_json: Json = False,
) -> None:
    """Build an embedded model anew and compare it with the shipped one; exits with 1 where their rates differ."""
    from orchestrator.commands.organism import build_organism, print_rebuilt
    from orchestrator.terminal import Terminal

    result = build_organism(name, seed, to, Terminal(stderr=as_json))
    if as_json:
        print(json.dumps(result.as_json(), indent=2))
    else:
        print_rebuilt(result, Terminal())
    if not result.agrees:
        raise typer.Exit(1)
