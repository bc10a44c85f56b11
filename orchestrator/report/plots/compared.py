"""Models side by side in their own units as one picture, drawn with matplotlib and without its global state."""

from pathlib import Path

from orchestrator.front.schema.comparison import ModelComparison
from orchestrator.report.plots.picture import quiet
from orchestrator.report.plots.saving import DPI, look, save
from orchestrator.report.plots.style import GREY, model_color


def write_comparison_picture(found: ModelComparison, path: Path) -> None:
    """Draw the fronts of ``found`` into the file ``path``, in the form of its ending; safe in any thread.

    Each model has a colour, each member a point with its 95 % intervals; a square is safety data alone.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with look():
        figure = Figure(figsize=(9.0, 6.6), dpi=DPI)
        figure.set_layout_engine("constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        quiet(axes)
        axes.set_title("Models compared, each in units of what its own fine-tuning lost and gained", loc="left")
        axes.set_xlabel("share of lost safety regained (1 is the untouched model)")
        axes.set_ylabel("share of the task gain kept (1 is plain fine-tuning)")
        axes.axvline(1, color=GREY, linewidth=0.8, linestyle=":")
        axes.axhline(1, color=GREY, linewidth=0.8, linestyle=":")
        for place, model in enumerate(found.models):
            color = model_color(place)
            for point in model.front:
                x, y = point.safety, point.utility
                axes.plot([x.low, x.high], [y.value, y.value], color=color, linewidth=0.8, alpha=0.5)
                axes.plot([x.value, x.value], [y.low, y.high], color=color, linewidth=0.8, alpha=0.5)
            members = [(point.safety.value, point.utility.value) for point in model.front]
            named = model.name if model.hypervolume is None else f"{model.name}: hypervolume {model.hypervolume}"
            if members:
                axes.plot(*zip(*members, strict=True), color=color, marker="o", linewidth=1.2, label=named)
            if model.reference is not None:
                beside = model.reference
                axes.plot([beside.safety.value], [beside.utility.value], color=color, marker="s", markersize=9)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="upper left", bbox_to_anchor=(0, -0.12), frameon=False, fontsize=9)
        save(figure, path)
