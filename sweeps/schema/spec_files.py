"""The YAML files of specifications: where they are, and what one takes from another by ``extends``."""

import itertools
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from sweeps.errors import SpecError
from sweeps.schema.yaml_text import LONGEST, YamlFault, read_yaml

EXTENDS = "extends"


def preset_names() -> list[str]:
    """Names of the presets that ship with the project."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _presets().iterdir() if entry.name.endswith(".yaml"))


def preset_file(name: str) -> Path:
    """The file of the preset ``name``.

    Raises:
        SpecError: there is none of this name.
    """
    if name not in preset_names():
        raise SpecError(f"preset ({name!r}) does not exist: choose one of {', '.join(preset_names())}")
    return _presets() / f"{name}.yaml"


def preset_title(name: str) -> str:
    """What the preset ``name`` is: the first sentence of its first comment."""
    lines = preset_file(name).read_text(encoding="utf-8").splitlines()
    comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
    return re.split(r"\.(?=\s|$)", " ".join(line.removeprefix("#").strip() for line in comment))[0]


def find_spec(path: str | Path) -> Path:
    """The file that ``path`` names, which may be the name of a preset.

    Raises:
        SpecError: there is neither.
    """
    file = Path(path)
    if _is_file(file):
        return file.resolve()
    if str(path) in preset_names():
        return preset_file(str(path))
    raise SpecError(
        f"spec ({str(path)!r}) does not exist: give a YAML file, or one of the presets {', '.join(preset_names())}"
    )


def _is_file(path: Path) -> bool:
    """False too for what no file can be called, such as a name that is too long."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def read_spec(file: Path, extending: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The fields of a specification's file, those that it takes from another by ``extends`` among them.

    Args:
        file: a YAML file.
        extending: the files that extend this one, for the refusal of a circle.

    Raises:
        SpecError: it is no YAML file of fields, or extends what is not there or itself.
    """
    try:
        with file.open(encoding="utf-8") as opened:
            tree = read_yaml(opened.read(LONGEST + 1))
    except (YamlFault, UnicodeDecodeError) as error:
        raise SpecError(f"spec ({str(file)!r}) is not valid YAML: {error}") from error
    except OSError as error:
        raise SpecError(f"spec ({str(file)!r}) cannot be read: {error.strerror}") from error
    if not isinstance(tree, dict):
        raise SpecError(f"spec ({str(file)!r}) must be a mapping of fields such as name, models, data, objectives")
    base = tree.pop(EXTENDS, None)
    if base is None:
        return tree
    if not isinstance(base, str):
        raise SpecError(f"extends ({base!r}) must be the path of a YAML file or the name of a preset")
    beside = file.parent / base
    found = beside.resolve() if _is_file(beside) else find_spec(base)
    if found in (file, *extending):
        raise SpecError(f"extends ({base!r}) in {str(file)!r} comes back to itself: take it out of one of the files")
    return _merged(read_spec(found, (file, *extending)), tree)


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the fields of ``own``: mappings field by field, but a block that names its ``type`` as a whole."""
    merged = dict(base)
    for field, value in own.items():
        there = base.get(field)
        if isinstance(value, Mapping) and isinstance(there, Mapping) and "type" not in value:
            merged[field] = _merged(there, value)
        else:
            merged[field] = value
    return merged


def _presets() -> Path:
    return Path(str(resources.files("sweeps"))) / "presets"
