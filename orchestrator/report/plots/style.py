"""How points, references and models look, the same in the PNG and in the page (colour-blind-safe)."""

from dataclasses import dataclass

INK = "#1f2933"
GREY = "#8a94a0"
GRID = "#e4e8ec"
PALE = "#c9d0d7"
FRONT_LINE = "#1f2933"
COLORMAP = "viridis"
PLAIN_POINT = "#0072B2"
"""Colour of points where no colour scale applies."""

UNCONFIRMED = "on the front, but beaten or breaking a rule on these prompts"
"""What hollow points are called."""

MODEL_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#1f2933")
"""Okabe and Ito's palette, for fronts of several models in one panel."""


@dataclass(frozen=True)
class ReferenceLook:
    """Marker and colour of a reference point."""

    marker: str
    """As matplotlib calls it."""
    color: str
    dash: str
    """Of its lines, as matplotlib writes it."""


REFERENCE_LOOKS = {
    "base model": ReferenceLook("*", "#1f2933", "-"),
    "plain fine-tuning": ReferenceLook("D", "#D55E00", "--"),
    "fine-tuning + safety data": ReferenceLook("s", "#AA3377", ":"),
}
OTHER_REFERENCE = ReferenceLook("P", "#8a94a0", "-.")


def reference_look(name: str) -> ReferenceLook:
    """The look of the reference called ``name`` in pictures."""
    return REFERENCE_LOOKS.get(name, OTHER_REFERENCE)


def model_color(index: int) -> str:
    """The colour of the ``index``-th model of a comparison."""
    return MODEL_COLORS[index % len(MODEL_COLORS)]
