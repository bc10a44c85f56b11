"""The fronts as one picture, drawn with matplotlib and without its global state."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.report.plots.labels import Label, Rectangle, place_labels
from orchestrator.report.plots.saving import DPI, look, save
from orchestrator.report.plots.shapes import Axis, Panel, PlotData, Point, Shade, thin_lines
from orchestrator.report.plots.style import (
    COLORMAP,
    FRONT_LINE,
    GREY,
    GRID,
    INK,
    PALE,
    PLAIN_POINT,
    UNCONFIRMED,
    model_color,
    reference_look,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELLED_FRONT = 15
"""A front of more members than this is not labelled: the page's table and hover say who is who."""
BARS_OF_DOMINATED = 40
"""More dominated trials than this are drawn without their intervals."""


def write_picture(data: PlotData, path: Path) -> None:
    """Draw ``data`` into the file ``path``, in the form of its ending; safe in any thread and without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = len(data.panels) + (len(data.panels) > 1)
    with look():
        figure = Figure(figsize=(14.0, 6.6 * max(1, rows) + 0.5), dpi=DPI)
        figure.set_layout_engine("constrained", h_pad=0.12, w_pad=0.12, hspace=0.06)
        canvas = FigureCanvasAgg(figure)
        figure.suptitle(f"{data.name}: Pareto front of the fine-tuning trials", fontsize=15, fontweight="bold")
        grid = figure.add_gridspec(max(1, rows), 2, width_ratios=(1.75, 1.0))
        drawn: list[tuple[Axes, Panel, Sequence[Point]]] = []
        if len(data.panels) > 1:
            _comparison(figure.add_subplot(grid[0, :]), data)
        for row, panel in enumerate(data.panels, start=int(len(data.panels) > 1)):
            scatter, drift = figure.add_subplot(grid[row, 0]), figure.add_subplot(grid[row, 1])
            drawn.append((scatter, panel, _scatter(scatter, data, panel)))
            _drift(drift, data.shade, panel)
        canvas.draw()  # type: ignore[no-untyped-call]  # labels are placed in pixels, which the layout only now decides
        figure.set_layout_engine("none")
        for axes, panel, points in drawn:
            _label(axes, panel, points)
        save(figure, path)


def _scatter(axes: "Axes", data: PlotData, panel: Panel) -> list[Point]:
    """One model's trials; returns the points to label."""
    _frame(axes, data.x, data.y)
    axes.set_title(f"{panel.model}\n", loc="left", fontweight="bold", fontsize=12)
    caption = axes.text(0, 1.015, panel.caption, transform=axes.transAxes, fontsize=8.5, color=GREY, va="bottom")
    caption.set_in_layout(False)  # a long one may reach over the colour bar, and would push it away
    dominated, front = panel.of("dominated"), panel.of("front")
    _bars(axes, data, dominated if len(dominated) <= BARS_OF_DOMINATED else (), PALE, 0.7)
    _bars(axes, data, front, INK, 1.0)
    _markers(axes, data.shade, dominated, size=32, alpha=0.55, edge="none", label="trial off the front")
    infeasible = panel.of("infeasible")
    if infeasible:
        axes.scatter(
            *_xy(infeasible), marker="x", s=26, linewidths=1.2, color=GREY, label="breaks a feasibility rule", zorder=3
        )
    if panel.staircase:
        axes.plot(*zip(*panel.staircase, strict=True), color=FRONT_LINE, linewidth=1.6, zorder=4, label="Pareto front")
    _markers(
        axes,
        data.shade,
        panel.front(confirmed=True),
        74,
        alpha=1.0,
        edge=INK,
        label="trial on the front, with its number",
    )
    _markers(axes, data.shade, panel.front(confirmed=False), 74, alpha=1.0, edge=None, label=UNCONFIRMED)
    for number, line in enumerate(panel.scaled):
        look = reference_look(line.name)
        label = None if number else "a reference scaled: no training"
        axes.plot(
            *zip(*line.points, strict=True), color=look.color, ls=look.dash, lw=1.1, marker=".", zorder=2.5, label=label
        )
    references = panel.of("reference")
    _references(axes, data, references)
    if panel.note:  # below the legend, where it covers no point
        axes.text(0, -0.2, _wrap(panel.note), transform=axes.transAxes, va="top", fontsize=9.5, fontweight="bold")
    _finish(axes, data)
    _colorbar(axes, data.shade, panel)
    return [*references, *(front if len(front) <= LABELLED_FRONT else ())]


def _comparison(axes: "Axes", data: PlotData) -> None:
    """The fronts of all models in one panel; colour is the model, shape the reference."""
    _frame(axes, data.x, data.y)
    axes.set_title("The models' fronts compared\n", loc="left", fontweight="bold", fontsize=12)
    for index, panel in enumerate(data.panels):
        color, front = model_color(index), panel.of("front")
        _bars(axes, data, front, color, 0.8)
        if panel.staircase:
            axes.plot(*zip(*panel.staircase, strict=True), color=color, linewidth=1.6, zorder=4)
        for confirmed in (True, False):
            look: dict[str, Any] = {"color": color, "edgecolors": "white"}
            if not confirmed:
                look = {"facecolors": "white", "edgecolors": color}
            members, name = panel.front(confirmed=confirmed), panel.model if confirmed else None
            axes.scatter(*_xy(members), s=60, linewidths=0.8 if confirmed else 1.8, zorder=5, label=name, **look)
        for point in panel.of("reference"):
            marker = reference_look(point.name).marker
            size = 190 if marker == "*" else 84
            axes.scatter(*_xy([point]), marker=marker, s=size, color=color, edgecolors="white", zorder=6)
    for name in dict.fromkeys(point.name for panel in data.panels for point in panel.of("reference")):
        axes.scatter([], [], marker=reference_look(name).marker, s=70, color=GREY, label=name)
    _finish(axes, data)


def _frame(axes: "Axes", x: Axis, y: Axis | None) -> None:
    axes.set_xlabel(x.title)
    axes.set_xlim(x.low, x.high)
    if y is None:
        axes.set_yticks([])
        axes.set_ylabel("trials, best at the top")
    else:
        axes.set_ylabel(y.title)
        axes.set_ylim(y.low, y.high)
    quiet(axes)


def quiet(axes: "Axes") -> None:
    """A pale grid behind everything, and no frame."""
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK)


def _finish(axes: "Axes", data: PlotData) -> None:
    """The legend below the axes, and an arrow outside them into the good corner, where neither covers a point."""
    if any(point.x.low is not None for panel in data.panels for point in panel.points):
        axes.plot([], [], color=GREY, linewidth=0.9, label="thin lines: 95 % interval")
    handles, _ = axes.get_legend_handles_labels()
    if handles:  # few columns: a legend wider than the axes would push the colour bar away
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(0, -0.1),
            ncols=2 if any(panel.scaled for panel in data.panels) else 3,
            frameon=False,
            fontsize=8.5,
            borderaxespad=0,
        )
    right = data.x.goal == "maximize"
    arrow = ("→" if right else "←") if data.y is None else ("↗" if right else "↖")
    if data.y is not None and data.y.goal == "minimize":
        arrow = "↘" if right else "↙"
    text = f"{arrow} better: {data.better}"
    axes.text(1, 1.055, text, transform=axes.transAxes, fontsize=9.5, fontweight="bold", ha="right", va="bottom")


def _bars(axes: "Axes", data: PlotData, points: Sequence[Point], color: str, width: float) -> None:
    for point in points:
        x, y = point.x, point.y
        if x.low is not None and x.high is not None:
            axes.plot([x.low, x.high], [y.value, y.value], color=color, linewidth=width, alpha=0.55, zorder=2)
        if data.y is not None and y.low is not None and y.high is not None:
            axes.plot([x.value, x.value], [y.low, y.high], color=color, linewidth=width, alpha=0.55, zorder=2)


def _markers(
    axes: "Axes", shade: Shade | None, points: Sequence[Point], size: float, alpha: float, edge: str | None, label: str
) -> None:
    """Points of the colour of their shade; without ``edge`` they are hollow."""
    if not points:
        return
    colors = [shade_color(shade, point.shade) for point in points]
    look: dict[str, Any] = (
        {"facecolors": "white", "edgecolors": colors, "linewidths": 2.4}
        if edge is None
        else {"c": colors, "edgecolors": edge, "linewidths": 1.1}
    )
    axes.scatter(*_xy(points), s=size, alpha=alpha, zorder=3 + alpha, label=label, **look)


def _references(axes: "Axes", data: PlotData, points: Sequence[Point]) -> None:
    for point in points:
        look = reference_look(point.name)
        _bars(axes, data, [point], look.color, 1.2)
        size = 190 if look.marker == "*" else 84
        axes.scatter(
            *_xy([point]),
            marker=look.marker,
            s=size,
            color=look.color,
            edgecolors="white",
            linewidths=0.9,
            zorder=6,
        )


def shade_color(shade: Shade | None, value: float | None) -> Any:
    """The colour of a point or line whose setting has ``value``, in any form that matplotlib takes."""
    import matplotlib as mpl

    if shade is None:
        return PLAIN_POINT
    return GREY if value is None else mpl.colormaps[COLORMAP](shade.position(value))


def _colorbar(axes: "Axes", shade: Shade | None, panel: Panel) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    if shade is None or not panel.points or axes.figure is None:
        return
    positions, labels = shade.ticks()
    bar = axes.figure.colorbar(ScalarMappable(Normalize(0, 1), COLORMAP), ax=axes, pad=0.015, aspect=35)
    bar.set_ticks(positions, labels=labels)
    bar.set_label(shade.title, fontsize=9)
    bar.outline.set_visible(False)


def _drift(axes: "Axes", shade: Shade | None, panel: Panel) -> None:
    """Cosine to the direction before training, per layer, of the references and the front."""
    quiet(axes)
    axes.set_title("Drift of the refusal direction", loc="left", fontsize=11)
    axes.set_xlabel("decoder layer (0 = first)")
    axes.set_ylabel("cosine with the direction before training (1 = unmoved)")
    if not panel.drift:
        axes.text(0.5, 0.5, "no drift was measured", transform=axes.transAxes, ha="center", color=GREY)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    unnamed = True
    for line in panel.drift:
        marker = "o" if len(line.layers) <= 12 else None
        if line.role == "reference":
            look = reference_look(line.name)
            style: dict[str, Any] = {"color": look.color, "linestyle": look.dash, "linewidth": 2.2}
            style["label"] = line.name
        else:
            style = {"color": shade_color(shade, line.shade), "linewidth": 1.2, "alpha": 0.9}
            style["label"] = "trials on the front (colour as left)" if unnamed else None
            unnamed = False
        axes.plot(line.layers, line.cosines, marker=marker, markersize=3.5, **style)
    layers = sorted({layer for line in panel.drift for layer in line.layers})
    axes.set_xticks(layers if len(layers) <= 12 else layers[:: max(1, len(layers) // 8)])
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.11), ncols=2, frameon=False, fontsize=8.5, borderaxespad=0)


def _label(axes: "Axes", panel: Panel, points: Sequence[Point]) -> None:
    """Write names beside points, with a thin leader where the name had to move away."""
    pixel = axes.figure.dpi / 72  # places are worked out in points, the unit of font sizes
    boxes = [(x - 6, y - 6, x + 6, y + 6) for x, y in _spots(axes, panel.points) / pixel]
    labels = [
        Label(x, y, len(p.name) * (6.8 if p.role == "reference" else 5.6), 12, required=p.role == "reference")
        for p, (x, y) in zip(points, _spots(axes, points) / pixel, strict=True)
    ]
    left, lower, right, upper = (edge / pixel for edge in axes.get_window_extent().extents)
    lines = [_box(axes, line, pixel) for line in thin_lines(panel)]
    for point, offset in zip(points, place_labels(labels, boxes, (left, lower, right, upper), lines), strict=True):
        if offset is None:
            continue
        look = reference_look(point.name) if point.role == "reference" else None
        axes.annotate(
            point.name,
            (point.x.value, point.y.value),
            xytext=offset,
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=10 if look else 8.5,
            fontweight="bold" if look else "normal",
            color=look.color if look else INK,
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkB": 4, "shrinkA": 1},
            zorder=8,
        )


def _spots(axes: "Axes", points: Sequence[Point]) -> Any:
    """``[n, 2]`` places of ``points`` in the picture, in pixels."""
    import numpy as np

    return axes.transData.transform(np.array([(p.x.value, p.y.value) for p in points]).reshape(-1, 2))


def _box(axes: "Axes", line: Rectangle, pixel: float) -> Rectangle:
    (left, lower), (right, upper) = axes.transData.transform([line[:2], line[2:]]) / pixel
    return left - 1, lower - 1, right + 1, upper + 1


def _xy(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [point.x.value for point in points], [point.y.value for point in points]


def _wrap(text: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, 88))
