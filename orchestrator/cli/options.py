"""Arguments and options that several verbs of the command line share."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.record.folder import JOURNAL, possible


def _address(folder: Path) -> str | None:
    """The address that was typed, or whose local folder was."""
    from training.storage.address import address_of, checked, is_address

    if is_address(str(folder)):
        return checked(str(folder), "directory")
    return address_of(possible(folder, "directory"))


def _read(folder: Path) -> Path:
    """A folder to read a sweep from; one in a bucket is fetched."""
    address = _address(folder)
    if address is None:
        return folder
    from orchestrator.record.pulled import pulled

    return pulled(address)


def sweep_or_specification(typed: str) -> str:
    """``typed``, or the folder into which the sweep was fetched whose address it is."""
    from training.storage.address import is_address

    return str(_read(Path(typed))) if is_address(typed) else typed


def _all_read(folders: list[Path]) -> list[Path]:
    return [_read(folder) for folder in folders]


def _driven(folder: Path) -> Path:
    """A folder to drive a sweep in; one in a bucket is fetched when its driver may."""
    from training.storage.address import made_local_folder

    address = _address(folder)
    return folder if address is None else made_local_folder(address)


def _steered(folder: Path) -> Path:
    """A folder whose driver is asked; of one in a bucket nothing is fetched yet."""
    from training.storage.address import READ, made_local_folder

    address = _address(folder)
    return folder if address is None else made_local_folder(address, READ)


def _specs(typed: str) -> list[str]:
    """Presets, and YAML files and folders here, that begin with what was typed."""
    from sweeps.schema.spec_files import preset_names

    found = [path for path in Path(typed or ".").parent.glob("*") if path.is_dir() or path.suffix in (".yaml", ".yml")]
    names = [*preset_names(), *(f"{path}/" if path.is_dir() else str(path) for path in sorted(found))]
    return [name for name in names if name.startswith(typed)]


def sweep_folders(typed: str) -> list[str]:
    """Folders that begin with what was typed: sweeps first, then those that may hold some."""
    above, sign, _ = typed.rpartition("/")
    try:
        folders = sorted(path for path in Path(above or sign or ".").iterdir() if path.is_dir())
    except OSError:
        return []
    names = {path: f"{above}{sign}{path.name}" for path in folders}
    sweeps = [names[path] for path in folders if (path / JOURNAL).is_file()]
    others = [f"{name}/" for name in names.values() if name not in sweeps]
    hidden = typed.rpartition("/")[2].startswith(".")
    return [
        name
        for name in (*sweeps, *others)
        if name.startswith(typed) and (hidden or not name.rstrip("/").rpartition("/")[2].startswith("."))
    ]


Spec = Annotated[
    str, typer.Argument(help="A sweep's YAML file, or the name of a preset such as demo.", autocompletion=_specs)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Change one field; repeatable; numbers reach into lists."),
]
Model = Annotated[str | None, typer.Option(help="Name of the model in the spec. [default: the first]")]
_HELP = "Output folder of a sweep, or s3://bucket/place."
Directory = Annotated[Path, typer.Argument(help=_HELP, callback=_read, autocompletion=sweep_folders)]
Directories = Annotated[
    list[Path], typer.Argument(help="Output folders of sweeps.", callback=_all_read, autocompletion=sweep_folders)
]
Driven = Annotated[Path, typer.Argument(help=_HELP, callback=_driven, autocompletion=sweep_folders)]
Steered = Annotated[Path, typer.Argument(help=_HELP, callback=_steered, autocompletion=sweep_folders)]
Trial = Annotated[str, typer.Option(help="Id of a finished trial, as procon front shows it.")]
Address = Annotated[
    str | None, typer.Option(help="Ray cluster to join, auto for this machine's; left out: a local Ray.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of tables.")]
