"""``procon init``: a preset as a file of one's own."""

from pathlib import Path

from orchestrator.errors import OutputError
from sweeps.schema.spec_files import preset_file


def copy_preset(name: str, to: Path | None) -> Path:
    """Write the preset ``name`` into a file, comments and all, and say where it is.

    Args:
        name: of a preset.
        to: the file; None takes ``<name>.yaml`` here.

    Raises:
        SpecError: there is no such preset.
        OutputError: the file is there already, or cannot be written.
    """
    text = preset_file(name).read_text(encoding="utf-8")
    file = to or Path(f"{name}.yaml")
    try:
        with file.open("x", encoding="utf-8") as made:
            made.write(text)
    except FileExistsError:
        raise OutputError(f"{file} exists already: choose another file with --to") from None
    except OSError as error:
        raise OutputError(f"{file} cannot be written: {error.strerror}; choose another with --to") from error
    return file
