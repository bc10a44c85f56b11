"""The figures of the study."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from study_runs import ARMS, BASE, METHODS, PLAIN, SAFETY, Run, of_arm
from study_tables import ACCURACY, ATTACK, arm_rate, drift_values, number

from orchestrator.report.plots.style import GREY, GRID, INK
from sweeps.statistics.correlation import rank_correlation

COLORS = dict(
    zip(
        METHODS,
        (
            INK,
            "#7F7F7F",
            "#0072B2",
            "#56B4E9",
            "#F5B7B1",
            "#EC7063",
            "#B03A2E",
            "#641E16",
            "#E69F00",
            "#009E73",
            "#CC79A7",
            "#8C6D31",
            "#17BECF",
        ),
        strict=True,
    )
)
"""The lengths of the extra warm-up are one colour, darker the longer."""
DPI = 130


def look(arm: str) -> dict[str, Any]:
    """Colour is the method; filled with safety data, hollow without."""
    color = COLORS[arm.removesuffix(SAFETY)]
    filled = arm.endswith(SAFETY)
    return {"color": color, "markerfacecolor": color if filled else "white", "marker": "o", "linestyle": "none"}


def rates(runs: Sequence[Run], scaled: Sequence[Run], path: Path) -> None:
    """Attack success against accuracy of every arm: pooled with intervals, and every run on each base.

    Broken lines are scaled plain fine-tuning, with and without safety data.
    """
    names = sorted({run.base for run in runs})
    figure = Figure(figsize=(13.5, 8.6), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(names), 2, width_ratios=(2.1, 1))
    pooled = figure.add_subplot(grid[:, 0])
    lowest = min(run.metrics[ACCURACY] for run in runs if run.arm in ARMS) - 0.06
    pooled.set_xlim(-0.03, 1.0)
    pooled.set_ylim(lowest, 1.0)
    _pooled(pooled, runs)
    _scaled(pooled, runs, scaled)
    _base_below(pooled, runs, lowest)
    _quiet(pooled, f"All runs of {', '.join(names)}; lines are 95 % intervals, broken ones scaled IFT")
    _legend(pooled)
    for row, name in enumerate(names):
        axes = figure.add_subplot(grid[row, 1], sharex=pooled, sharey=pooled)
        chosen = [run for run in runs if run.base == name]
        for arm in ARMS:
            for run in of_arm(chosen, arm):
                axes.plot(run.metrics[ATTACK], run.metrics[ACCURACY], markersize=5, **look(arm))
        _base_below(axes, chosen, lowest)
        _quiet(axes, f"{name}: every run")
    figure.savefig(path, dpi=DPI, facecolor="white")


def _pooled(axes: Any, runs: Sequence[Run]) -> None:
    for arm in ARMS:
        if not of_arm(runs, arm):
            continue
        attack, accuracy = arm_rate(runs, arm, ATTACK), arm_rate(runs, arm, ACCURACY)
        line = {"color": look(arm)["color"], "linewidth": 1.0, "alpha": 0.6, "zorder": 2}
        axes.plot([attack.low, attack.high], [accuracy.mean] * 2, **line)
        axes.plot([attack.mean] * 2, [accuracy.low, accuracy.high], **line)
        axes.plot(attack.mean, accuracy.mean, markersize=9, zorder=3, **look(arm))


def _scaled(axes: Any, runs: Sequence[Run], scaled: Sequence[Run]) -> None:
    for arm in (PLAIN, PLAIN + SAFETY):
        between = [run for run in scaled if run.arm == arm]
        points = []
        for scale in sorted({run.scale for run in between} | {1.0}):
            chosen = [run for run in [*between, *of_arm(runs, arm)] if run.scale == scale]
            if chosen:
                points.append(
                    [float(np.mean([run.metrics[metric] for run in chosen])) for metric in (ATTACK, ACCURACY)]
                )
        if len(points) > 1:
            axes.plot(*zip(*points, strict=True), color=INK, linewidth=1.0, linestyle="--", zorder=1)


def _base_below(axes: Any, runs: Sequence[Run], lowest: float) -> None:
    """The untouched model has not learnt the task: it lies far below, which would squeeze all others into a corner."""
    attack, accuracy = arm_rate(runs, BASE, ATTACK).mean, arm_rate(runs, BASE, ACCURACY).mean
    place = max(accuracy, lowest + 0.012)
    axes.plot(attack, place, marker="*", linestyle="none", color=GREY, markersize=12, clip_on=False)
    arrow = "" if place == accuracy else " ↓"
    axes.annotate(
        f"untouched: accuracy {accuracy:.2f}{arrow}",
        (attack, place),
        (10, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        color=GREY,
    )


def _quiet(axes: Any, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel("attack success rate (left is better)", fontsize=9)
    axes.set_ylabel("task accuracy (up is better)", fontsize=9)
    _frame(axes)


def _frame(axes: Any) -> None:
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(axes: Any) -> None:
    for method, color in COLORS.items():
        axes.plot([], [], marker="o", linestyle="none", color=color, label=method)
    axes.plot([], [], marker="o", linestyle="none", color=GREY, markerfacecolor="white", label="hollow: task data only")
    axes.plot([], [], marker="o", linestyle="none", color=GREY, label="filled: with safety data")
    axes.legend(loc="lower right", frameon=False, fontsize=9)


def drift(runs: Sequence[Run], path: Path) -> None:
    """Drift at every layer against attack success, one point a run."""
    tuned = [run for run in runs if run.arm in ARMS]
    attacks = [run.metrics[ATTACK] for run in tuned]
    values = {name: found for name, found in drift_values(tuned).items() if "layer" in name}
    columns = len(values) // 2
    figure = Figure(figsize=(14, 7.4), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    for place, (name, found) in enumerate(values.items()):
        axes = figure.add_subplot(2, columns, place + 1)
        for run, value, attack in zip(tuned, found, attacks, strict=True):
            axes.plot(value, attack, markersize=5, **look(run.arm))
        axes.set_title(f"{name} (Spearman {number(rank_correlation(found, attacks))})", loc="left", fontsize=10)
        axes.set_xlabel(
            "cosine to the direction before training" if "cosine" in name else "mean |z_t - z_0|", fontsize=9
        )
        axes.set_ylabel("attack success rate" if place % columns == 0 else "", fontsize=9)
        axes.set_ylim(-0.03, 1.03)
        _frame(axes)
    for method, color in COLORS.items():
        figure.axes[0].plot([], [], marker="o", linestyle="none", color=color, label=method)
    handles = figure.axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    figure.suptitle("Drift against attack success, one point a run; hollow: task data only, filled: with safety data")
    figure.savefig(path, dpi=DPI, facecolor="white")
