"""How pictures are written: for screens as PNG, for papers as PDF or SVG with their fonts in them."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.report.plots.style import INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 130
FORMS = ("png", "pdf", "svg")
MAKER = "procon-sweeps"
_MARKS = tuple(text.encode() for text in (f"/Creator ({MAKER})", f"<dc:title>{MAKER}</dc:title>", f"Software\0{MAKER}"))
"""How :data:`MAKER` stands in a PDF, an SVG and a PNG."""
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
    """Write ``figure`` in the form that the ending of ``path`` names; the same figure gives the same bytes.

    It says who made it, so that :func:`is_ours` knows it again.
    """
    form = path.suffix.removeprefix(".")
    about = {
        "pdf": {"CreationDate": None, "Creator": MAKER},
        "svg": {"Date": None, "Creator": MAKER},
        "png": {"Software": MAKER},
    }[form]
    figure.savefig(path, dpi=DPI, facecolor="white", format=form, metadata=about)


def is_ours(path: Path) -> bool:
    """Whether :func:`save` wrote the file ``path``."""
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return any(mark in content for mark in _MARKS)
