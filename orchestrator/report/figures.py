"""``procon front --figure``: the report's pictures as files for a paper or a talk."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import OutputError
from orchestrator.front.schema.document import FrontDocument
from orchestrator.record.atomic import write_with
from orchestrator.record.folder import possible
from orchestrator.report.plots.course import write_course
from orchestrator.report.plots.data import plot_data
from orchestrator.report.plots.picture import write_picture
from orchestrator.report.plots.saving import FORMS, is_ours
from orchestrator.report.plots.shapes import PlotData

FIGURES: dict[str, Callable[[PlotData, Path], None]] = {"front": write_picture, "course": write_course}
"""By name: the fronts with the drift of the direction, and what happens over the steps of the trainings."""


@dataclass(frozen=True)
class Wanted:
    """One figure and where it goes."""

    figure: str
    file: Path

    @classmethod
    def parse(cls, text: str, *, force: bool = False) -> "Wanted":
        """``FILE``, which is the front, or ``NAME=FILE``.

        Args:
            text: as it was typed.
            force: replace the file whatever it is.

        Raises:
            OutputError: no figure is called so, the file has an ending that no form has, or it exists and is no figure
                of ours.
        """
        name, sign, rest = text.partition("=")
        figure, file = (name, Path(rest)) if sign else ("front", Path(text))
        if figure not in FIGURES:
            raise OutputError(f"--figure ({text!r}) names no figure: write FILE or {' or '.join(FIGURES)}=FILE")
        if file.suffix.removeprefix(".") not in FORMS:
            raise OutputError(f"--figure ({text!r}) must end in {', '.join(f'.{form}' for form in FORMS)}: {file}.pdf")
        if not possible(file.absolute().parent, "--figure").is_dir():
            raise OutputError(f"--figure ({text!r}): the folder {file.absolute().parent} is not there; make it first")
        if file.is_dir() or (file.exists() and not force and not is_ours(file)):
            raise OutputError(
                f"--figure ({text!r}): {file} exists and is not a figure that procon front drew: name another file, or "
                "replace it with --force"
            )
        return cls(figure, file)


def write_figures(name: str, front: FrontDocument, wanted: Sequence[Wanted]) -> None:
    """Draw the front of the sweep ``name``; each file is replaced at once or not at all.

    Raises:
        OutputError: nothing was measured of what a figure shows, or a file cannot be written.
    """
    data = plot_data(name, front)
    if any(one.figure == "course" for one in wanted) and not any(panel.course for panel in data.panels):
        raise OutputError("--figure (course=…): no training was measured on its way, so there is nothing to draw")
    for one in wanted:
        try:
            write_with(one.file, lambda path, draw=FIGURES[one.figure]: draw(data, path))  # type: ignore[misc]
        except OSError as error:
            raise OutputError(f"--figure ({one.file}) cannot be written: {error.strerror or error}") from error
