"""The plane of a front's two objectives in characters, for terminals (pure)."""

from collections.abc import Sequence

from orchestrator.report.plots.shapes import Axis, Panel, PlotData, Point
from orchestrator.report.shown import REFERENCE_NAMES, short_metric

SIGNS = {"front": "●", "hollow": "○", "dominated": "·", "infeasible": "x"}
PLAIN_SIGNS = {"front": "O", "hollow": "o", "dominated": ".", "infeasible": "x"}
"""Where a terminal has no more than ASCII."""
REFERENCE_SIGNS = {REFERENCE_NAMES["base"]: "B", REFERENCE_NAMES["ift"]: "F", REFERENCE_NAMES["ift_safety"]: "S"}
LEFT = 7
"""Characters for the numbers of the vertical axis."""


def text_scatter(data: PlotData, panel: Panel, width: int, height: int = 16, *, ascii_only: bool = False) -> list[str]:
    """Lines of a picture of ``panel``; none with one objective, without a front, or where ``width`` is too small.

    Args:
        data: axes.
        panel: one model; the axes follow its front, and references that lie outside are told below it.
        width: characters a line may have.
        height: lines of the plane itself.
        ascii_only: draws with ASCII alone.
    """
    members = panel.of("front")
    columns = min(width, 100) - LEFT - 2
    if data.y is None or not members or columns < 30:
        return []
    signs = PLAIN_SIGNS if ascii_only else SIGNS
    xs, ys = _range([p.x.value for p in members], data.x), _range([p.y.value for p in members], data.y)
    grid = [[" "] * columns for _ in range(height)]

    def place(point: Point) -> tuple[int, int] | None:
        column = round((point.x.value - xs[0]) / (xs[1] - xs[0]) * (columns - 1))
        row = round((ys[1] - point.y.value) / (ys[1] - ys[0]) * (height - 1))
        return (row, column) if 0 <= row < height and 0 <= column < columns else None

    outside = []
    for role in ("dominated", "infeasible", "reference", "front"):
        for point in panel.points:
            if point.role != role:
                continue
            at = place(point)
            sign = REFERENCE_SIGNS.get(point.name, "R") if role == "reference" else signs[role]
            if at is not None:
                grid[at[0]][at[1]] = signs["hollow"] if role == "front" and point.doubt else sign
            elif role == "reference":
                outside.append(f"{sign} {point.name} ({point.x.value:.2f}, {point.y.value:.2f})")
    for point in members:
        at = place(point)
        if at is not None:
            _label(grid[at[0]], at[1], point.name)
    corner, across, up = ("+", "-", "|") if ascii_only else ("└", "─", "│")
    lines = [f"{'^' if ascii_only else '↑'} {data.y.title}"]
    marked = {0: ys[1], height // 2: (ys[0] + ys[1]) / 2, height - 1: ys[0]}
    for row, cells in enumerate(grid):
        number = f"{marked[row]:.2f}" if row in marked else ""
        lines.append(f"{number:>{LEFT - 1}} {up}{''.join(cells)}".rstrip())
    lines.append(f"{'':{LEFT}}{corner}{across * columns}")
    middle = f"{(xs[0] + xs[1]) / 2:.2f}"
    low, high = f"{xs[0]:.2f}", f"{xs[1]:.2f}"
    gap = max(1, columns - len(low) - len(middle) - len(high))
    lines.append(f"{'':{LEFT + 1}}{low}{' ' * (gap // 2)}{middle}{' ' * (gap - gap // 2)}{high}")
    arrow = ">" if ascii_only else "→"
    title = data.x.title if len(data.x.title) + 2 <= width else short_metric(data.x.metric).replace("_", " ")
    lines.append(f"{f'{title} {arrow}':>{min(width, LEFT + 1 + columns)}}")
    return [*lines, *_key(panel, signs, width), *([f"outside: {'; '.join(outside)}"] if outside else [])]


def _range(values: Sequence[float], axis: Axis) -> tuple[float, float]:
    """Around the front, with room for labels."""
    low, high = min(values), max(values)
    pad = 0.12 * (high - low) or 0.1 * (abs(high) or 1.0)
    return max(axis.low, low - pad), min(axis.high, high + pad)


def _label(row: list[str], column: int, name: str) -> None:
    """Write ``name`` beside its point, where nothing stands."""
    text = f" {name}"
    for start in (column + 1, column - len(text)):
        cells = range(start, start + len(text))
        if cells[0] >= 0 and cells[-1] < len(row) and all(row[cell] == " " for cell in cells):
            shown = text if start > column else f"{name} "
            for cell, character in zip(cells, shown, strict=True):
                row[cell] = character
            return


def _key(panel: Panel, signs: dict[str, str], width: int) -> list[str]:
    """What the signs mean, of those that are there."""
    meanings = [
        (bool(panel.front(confirmed=True)), f"{signs['front']} on the front"),
        (bool(panel.front(confirmed=False)), f"{signs['hollow']} not borne out by these prompts"),
        (bool(panel.of("dominated")), f"{signs['dominated']} off it"),
        (bool(panel.of("infeasible")), f"{signs['infeasible']} breaks a rule"),
        *((True, f"{REFERENCE_SIGNS.get(point.name, 'R')} {point.name}") for point in panel.of("reference")),
    ]
    lines = [""]
    for shown, text in meanings:
        if shown:
            added = f"{lines[-1]}   {text}" if lines[-1] else text
            lines = [*lines[:-1], added] if len(added) <= width else [*lines, text]
    return lines
