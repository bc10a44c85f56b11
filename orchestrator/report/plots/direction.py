"""Heat maps of the refusal direction: what each layer's causes, and how it drifts in training."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.report.plots.heat_maps import HeatMap, kl_map, refusal_map
from orchestrator.report.plots.saving import DPI, look, save
from orchestrator.report.plots.style import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from training.direction.causal import CausalReport

ANNOTATED = 40
"""A map of more columns than this carries no numbers: colour and axis say it."""


def write_direction_png(report: "CausalReport", model: str, path: Path) -> None:
    """Draw the causal report of ``model`` into the file ``path``, the recommended band framed."""
    maps = refusal_map(report), kl_map(report)
    verdict = f"{model}: {report.sentence}"
    _write(path, verdict, maps, [str(layer) for layer in report.band], "decoder layer (0 = first)")


def write_drift_png(maps: Sequence[HeatMap], title: str, path: Path) -> None:
    """Draw how the direction drifts in several trials into the file ``path``."""
    _write(path, title, maps, [], "optimizer step")


def _write(path: Path, title: str, maps: Sequence[HeatMap], framed: Sequence[str], x_label: str) -> None:
    import textwrap

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width = min(24.0, 7.5 + 0.55 * len(maps[0].columns))
    heights = [len(each.rows) for each in maps]
    with look():
        figure = Figure(figsize=(width, 2.2 + 0.42 * sum(heights) + 0.5 * len(maps)), dpi=DPI)
        figure.set_layout_engine("constrained", h_pad=0.08)
        FigureCanvasAgg(figure)
        figure.suptitle(
            "\n".join(textwrap.wrap(title, int(9 * width))), fontsize=11, fontweight="bold", x=0.01, ha="left"
        )
        for axes, each in zip(
            figure.subplots(len(maps), 1, squeeze=False, height_ratios=heights)[:, 0], maps, strict=True
        ):
            _draw(figure, axes, each)
            if framed:
                _frame(axes, each, framed)
        axes.set_xlabel(x_label + (" - framed: recommended" if framed else ""))
        save(figure, path)


def _draw(figure: "Figure", axes: "Axes", drawn: HeatMap) -> None:
    image = axes.imshow(drawn.values, vmin=drawn.low, vmax=drawn.high, cmap=drawn.colors, aspect="auto")
    step = max(1, len(drawn.columns) // ANNOTATED)
    axes.set_xticks(range(0, len(drawn.columns), step), drawn.columns[::step])
    axes.set_yticks(range(len(drawn.rows)), drawn.rows)
    axes.set_title(drawn.title, loc="left", fontsize=10, color=INK)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if len(drawn.columns) <= ANNOTATED:
        _annotate(axes, drawn, image)
    bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=6 * len(drawn.rows))
    bar.outline.set_visible(False)


def _annotate(axes: "Axes", drawn: HeatMap, image: Any) -> None:
    for row, values in enumerate(drawn.values):
        for column, value in enumerate(values):
            if math.isnan(value):
                axes.text(column, row, "lost", ha="center", va="center", fontsize=9, color=INK)
                continue
            red, green, blue, _ = image.cmap(image.norm(value))
            dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
            color = "white" if dark else INK
            axes.text(column, row, drawn.form.format(value), ha="center", va="center", fontsize=9, color=color)


def _frame(axes: "Axes", drawn: HeatMap, columns: Sequence[str]) -> None:
    from matplotlib.patches import Rectangle

    left = drawn.columns.index(columns[0]) - 0.5
    box = Rectangle(
        (left, -0.5), len(columns), len(drawn.rows), fill=False, edgecolor=INK, linewidth=2.5, clip_on=False
    )
    axes.add_patch(box)
