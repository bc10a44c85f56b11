"""Arguments and options that several verbs of the command line share."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.record.folder import possible


def _possible(folder: Path) -> Path:
    return possible(folder, "directory")


def _all_possible(folders: list[Path]) -> list[Path]:
    return [_possible(folder) for folder in folders]


def _specs(typed: str) -> list[str]:
    """Presets, and YAML files and folders here, that begin with what was typed."""
    from sweeps.schema.spec_files import preset_names

    found = [path for path in Path(typed or ".").parent.glob("*") if path.is_dir() or path.suffix in (".yaml", ".yml")]
    names = [*preset_names(), *(f"{path}/" if path.is_dir() else str(path) for path in sorted(found))]
    return [name for name in names if name.startswith(typed)]


Spec = Annotated[
    str, typer.Argument(help="A sweep's YAML file, or the name of a preset such as demo.", autocompletion=_specs)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Change one field; repeatable; numbers reach into lists."),
]
Model = Annotated[str | None, typer.Option(help="Name of the model in the spec. [default: the first]")]
Directory = Annotated[Path, typer.Argument(help="Output folder of a sweep.", callback=_possible)]
Directories = Annotated[list[Path], typer.Argument(help="Output folders of sweeps.", callback=_all_possible)]
Trial = Annotated[str, typer.Option(help="Id of a finished trial, as procon front shows it.")]
Address = Annotated[
    str | None, typer.Option(help="Ray cluster to join, auto for this machine's; left out: a local Ray.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of tables.")]
