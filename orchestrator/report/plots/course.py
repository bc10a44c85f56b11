"""How the direction drifts and refusals fade over the steps of a training (the paper's figure 2)."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.report.plots.picture import quiet, shade_color
from orchestrator.report.plots.saving import DPI, look, save
from orchestrator.report.plots.shapes import CourseLine, PlotData, Shade
from orchestrator.report.plots.style import GREY, reference_look

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def write_course(data: PlotData, path: Path) -> None:
    """Draw the trained references and the front step by step, a row a model, into ``path``, by its ending."""
    from matplotlib.figure import Figure

    panels = [panel for panel in data.panels if panel.course]
    with look():
        figure = Figure(figsize=(13.0, 4.6 * max(1, len(panels)) + 0.8), dpi=DPI, layout="constrained")
        figure.suptitle(f"{data.name}: over the course of training", fontsize=14, fontweight="bold")
        axes = figure.subplots(max(1, len(panels)), 2, squeeze=False)
        for panel, (drift, refusal) in zip(panels, axes, strict=False):
            drift.set_title(panel.model, loc="left", fontweight="bold")
            drift.set_ylabel("cosine with the direction before training,\nmean over layers (1 = unmoved)")
            refusal.set_ylabel("log-odds of a refusal on harmful prompts")
            refusal.axhline(0, color=GREY, linewidth=1, linestyle=":")
            # The front first: the references are what it is compared with and lie on top.
            lines = sorted(panel.course, key=lambda line: line.role == "reference")
            for one, name in ((drift, "cosines"), (refusal, "log_odds")):
                _draw(one, lines, name, data.shade)
            if drift.get_legend_handles_labels()[0]:
                drift.legend(loc="best", frameon=False, fontsize=8.5)
        save(figure, path)


def _draw(axes: "Axes", lines: list[CourseLine], values: str, shade: Shade | None) -> None:
    quiet(axes)
    axes.set_xlabel("optimizer step")
    unnamed = True
    for line in lines:
        if line.role == "reference":
            look = reference_look(line.name)
            style: dict[str, Any] = {"color": look.color, "linestyle": look.dash, "linewidth": 2.4}
            style["label"] = line.name
        else:
            style = {"color": shade_color(shade, line.shade), "linewidth": 1.2}
            style["label"] = "trials on the front (colours of front.png)" if unnamed else None
            unnamed = False
        measured = [(step, y) for step, y in zip(line.steps, getattr(line, values), strict=True) if y is not None]
        if measured:
            axes.plot(*zip(*measured, strict=True), marker="o", markersize=3.5, **style)
