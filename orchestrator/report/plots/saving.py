"""How pictures are written: for screens as PNG, for papers as PDF or SVG with their fonts in them."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.report.plots.style import INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 130
FORMS = ("png", "pdf", "svg")
_LOOK: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "pdf.fonttype": 42,  # TrueType, which publishers ask for
    "svg.fonttype": "path",
    "svg.hashsalt": "procon",
}


def look() -> AbstractContextManager[Any]:
    """Fonts and colours of every picture; to be drawn and saved within it."""
    import matplotlib as mpl

    return mpl.rc_context(_LOOK)  # type: ignore[arg-type]


def save(figure: "Figure", path: Path) -> None:
    """Write ``figure`` in the form that the ending of ``path`` names; the same figure gives the same bytes."""
    form = path.suffix.removeprefix(".")
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(form)
    figure.savefig(path, dpi=DPI, facecolor="white", format=form, metadata=undated)
