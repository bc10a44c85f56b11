"""``front.html``: one self-contained page (plotly inlined, nothing loaded from elsewhere)."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from orchestrator.atomic import write_text
from orchestrator.html_tables import comparison_table, front_table, reference_table
from orchestrator.plot_labels import Label, place_labels
from orchestrator.plot_style import (
    COLORMAP,
    FRONT_LINE,
    GREY,
    GRID,
    INK,
    PALE,
    PLAIN_POINT,
    model_color,
    reference_look,
)
from orchestrator.plots import Axis, Panel, PlotData, Point, Shade, thin_lines

WIDTH, HEIGHT = 760, 560
DRIFT_WIDTH = 440
MARGIN = {"l": 70, "r": 20, "t": 40, "b": 104}
COLORBAR = 96
LABELLED_FRONT = 15
BARS_OF_DOMINATED = 60

STYLE = """
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #1f2933; margin: 2rem auto; max-width: 1360px;
       padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.2rem; margin: 2.2rem 0 0 } h3 { font-size: 1rem; margin: 1.2rem 0 .3rem }
p { margin: .3rem 0; max-width: 62rem } .quiet { color: #5b6672 } .note { background: #fff4e5; padding: .6rem .9rem }
.panels { display: flex; flex-wrap: wrap; gap: 12px } .scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #e4e8ec; white-space: nowrap }
th { vertical-align: bottom; white-space: normal; max-width: 7.5rem } td.number, th.number { text-align: right } td small { color: #5b6672 }
"""


def write_html(data: PlotData, front: Mapping[str, Any], path: Path) -> None:
    """Write the page of ``data`` with the tables of the ``front.json`` document ``front`` to ``path``."""
    from plotly.offline import get_plotlyjs

    several = len(data.panels) > 1
    body = [f"<h1>{escape(data.name)}: Pareto front of the fine-tuning trials</h1>", _how_to_read(data, front)]
    if several:
        body += ["<h2>The models' fronts compared</h2>", _fragment(_comparison(data)), comparison_table(front)]
    for panel in data.panels:
        body += [f"<h2>{escape(panel.model)}</h2>", f'<p class="quiet">{escape(panel.caption)}</p>']
        if panel.note:
            body.append(f'<p class="note">{escape(panel.note)}</p>')
        drift = _fragment(_drift(data.shade, panel)) if panel.drift else ""
        body.append(f'<div class="panels"><div>{_fragment(_scatter(data, panel))}</div><div>{drift}</div></div>')
        body += ["<h3>The front</h3>", front_table(front, panel.model)]
        body += ["<h3>References</h3>", reference_table(front, panel.model)]
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(data.name)}: Pareto front</title>'
        f"<style>{STYLE}</style><script>{get_plotlyjs()}</script></head><body>{''.join(body)}</body></html>\n"
    )
    write_text(path, page)


def _fragment(figure: Any) -> str:
    """The figure as a piece of the page, whose head carries plotly itself."""
    config = {"displaylogo": False, "displayModeBar": False}
    return str(figure.to_html(full_html=False, include_plotlyjs=False, config=config))


def _how_to_read(data: PlotData, front: Mapping[str, Any]) -> str:
    rules = f" A trial must keep {escape(' and '.join(front['feasible']))}." if front["feasible"] else ""
    shade = f" Colour is {escape(data.shade.title)}." if data.shade else ""
    edge = "; the line joins them" if len(front["objectives"]) == 2 else ""
    return (
        f"<p>Every point is one fine-tuned model. <b>Better is {escape(data.better)}.</b> The front (large points with a "
        f"dark rim{edge}) holds the trials that no other trial beats on every objective.{rules} Thin lines are "
        f"95 % Wilson intervals over held-out prompts.{shade} Hover over a point for its settings and measurements.</p>"
    )


def _scatter(data: PlotData, panel: Panel) -> Any:
    figure = _figure(data.x, data.y, WIDTH + (COLORBAR if data.shade else 0))
    dominated, front, references = panel.of("dominated"), panel.of("front"), panel.of("reference")
    _points(figure, data, dominated, "dominated trial", size=8, opacity=0.5, rim=0, bars=PALE)
    infeasible = panel.of("infeasible")
    if infeasible:
        _trace(figure, infeasible, "breaks a feasibility rule", {"symbol": "x-thin-open", "size": 8, "color": GREY})
    if panel.staircase:
        xs, ys = zip(*panel.staircase, strict=True)
        line = {"color": FRONT_LINE, "width": 2}
        figure.add_scatter(x=xs, y=ys, mode="lines", line=line, name="Pareto front", hoverinfo="skip")
    _points(figure, data, front, "trial on the front", size=13, opacity=1.0, rim=1.5, bars=INK)
    for point in references:
        look = reference_look(point.name)
        size = 17 if look.plotly == "star" else 12
        marker = {"symbol": look.plotly, "size": size, "color": look.color, "line": {"color": "white", "width": 1}}
        _trace(figure, [point], point.name, marker, bars=look.color, with_y=data.y is not None)
    if data.shade and panel.points:
        _colorbar(figure, data.shade)
    _labels(figure, data, panel, [*references, *(front if len(front) <= LABELLED_FRONT else ())])
    return figure


def _comparison(data: PlotData) -> Any:
    figure = _figure(data.x, data.y, WIDTH)
    for index, panel in enumerate(data.panels):
        color = model_color(index)
        group = {"legendgroup": panel.model}
        if panel.staircase:
            xs, ys = zip(*panel.staircase, strict=True)
            line = {"color": color, "width": 2}
            figure.add_scatter(x=xs, y=ys, mode="lines", line=line, hoverinfo="skip", showlegend=False, **group)
        marker = {"size": 11, "color": color, "line": {"color": "white", "width": 1}}
        front = panel.of("front")
        _trace(figure, front, f"{panel.model}: front", marker, bars=color, with_y=data.y is not None, **group)
        for point in panel.of("reference"):
            look = reference_look(point.name)
            marker = {"symbol": look.plotly, "size": 14, "color": color, "line": {"color": "white", "width": 1}}
            _trace(figure, [point], f"{panel.model}: {point.name}", marker, **group)
    return figure


def _drift(shade: Shade | None, panel: Panel) -> Any:
    figure = _figure(None, None, DRIFT_WIDTH)
    figure.update_xaxes(title="decoder layer (0 = first)", dtick=1 if len(panel.drift[0].layers) <= 12 else None)
    figure.update_yaxes(title="cosine with the direction before training")
    named = False
    for line in panel.drift:
        if line.role == "reference":
            look = reference_look(line.name)
            style, name, shown = {"color": look.color, "width": 3, "dash": look.dash}, line.name, True
        else:
            style, name, shown = {"color": _color(shade, line.shade), "width": 1.5}, "trials on the front", not named
            named = True
        figure.add_scatter(
            x=line.layers,
            y=line.cosines,
            name=name,
            line=style,
            mode="lines+markers" if len(line.layers) <= 12 else "lines",
            showlegend=shown,
            hovertemplate=f"{escape(line.name)}<br>layer %{{x}}: %{{y:.3f}}<extra></extra>",
        )
    title = "Drift of the refusal direction (1 = unmoved)"
    figure.add_annotation(text=title, x=0, y=1.07, xref="paper", yref="paper", showarrow=False, xanchor="left")
    return figure


def _figure(x: Axis | None, y: Axis | None, width: int) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.update_layout(
        width=width,
        height=HEIGHT,
        margin={**MARGIN, "r": MARGIN["r"] + max(0, width - WIDTH if width == WIDTH + COLORBAR else 0)},
        plot_bgcolor="white",
        font={"color": INK, "size": 12},
        hoverlabel={"align": "left", "bgcolor": "white"},
        legend={"orientation": "h", "yref": "container", "y": 0.0, "yanchor": "bottom", "x": 0, "font": {"size": 11}},
    )
    grid = {"gridcolor": GRID, "zeroline": False, "linecolor": GREY}
    figure.update_xaxes(**grid, **({"title": x.title, "range": [x.low, x.high]} if x else {}))
    figure.update_yaxes(**grid, **({"title": y.title, "range": [y.low, y.high]} if y else {}))
    if x and not y:
        figure.update_yaxes(title="trials, best at the top", showticklabels=False)
    return figure


def _points(
    figure: Any, data: PlotData, points: Sequence[Point], name: str, size: int, opacity: float, rim: float, bars: str
) -> None:
    colors = [_color(data.shade, point.shade) for point in points]
    line = {"color": INK, "width": rim}
    shown = bars if rim or len(points) <= BARS_OF_DOMINATED else None
    marker = {"size": size, "color": colors, "opacity": opacity, "line": line}
    _trace(figure, points, name, marker, bars=shown, with_y=data.y is not None)


def _trace(
    figure: Any,
    points: Sequence[Point],
    name: str,
    marker: Mapping[str, Any],
    bars: str | None = None,
    with_y: bool = True,
    **options: Any,
) -> None:
    """Points with their intervals and everything known about them on hover."""
    if not points:
        return
    errors = {}
    if bars:
        errors["error_x"] = _error([point.x for point in points], bars)
        if with_y:
            errors["error_y"] = _error([point.y for point in points], bars)
    figure.add_scatter(
        x=[point.x.value for point in points],
        y=[point.y.value for point in points],
        mode="markers",
        name=name,
        marker=dict(marker),
        text=[_hover(point) for point in points],
        hovertemplate="%{text}<extra></extra>",
        **{key: error for key, error in errors.items() if error},
        **options,
    )


def _error(estimates: Sequence[Any], color: str) -> dict[str, Any] | None:
    if any(e.low is None or e.high is None for e in estimates):
        return None
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(0.0, e.high - e.value) for e in estimates],
        "arrayminus": [max(0.0, e.value - e.low) for e in estimates],
        "color": color,
        "thickness": 1,
        "width": 0,
    }


def _hover(point: Point) -> str:
    role = {
        "front": "on the front",
        "dominated": "dominated",
        "infeasible": "breaks a feasibility rule",
        "reference": "reference, not searched",
    }[point.role]
    head = f"<b>{escape(point.id)}</b> ({role})"
    return "<br>".join([head, *(f"{escape(name)}: {escape(value)}" for name, value in point.details)])


def _color(shade: Shade | None, value: float | None) -> str:
    from plotly.colors import sample_colorscale

    if shade is None:
        return PLAIN_POINT
    return GREY if value is None else str(sample_colorscale(COLORMAP, [shade.position(value)])[0])


def _colorbar(figure: Any, shade: Shade) -> None:
    """A colour bar without data: the points carry their colours themselves."""
    positions, labels = shade.ticks()
    bar = {"title": {"text": shade.title, "side": "right"}, "tickvals": positions, "ticktext": labels, "thickness": 14}
    marker = {"color": [0.0], "cmin": 0, "cmax": 1, "colorscale": COLORMAP, "showscale": True, "colorbar": bar}
    figure.add_scatter(x=[None], y=[None], mode="markers", marker=marker, showlegend=False, hoverinfo="skip")


def _labels(figure: Any, data: PlotData, panel: Panel, points: Sequence[Point]) -> None:
    """Names beside points; the figure's size is fixed, so places in pixels are known here."""
    y_low, y_high = (data.y.low, data.y.high) if data.y else (-1.0, max(1.0, float(len(panel.points))))
    if not data.y:
        figure.update_yaxes(range=[y_low, y_high])
    width, height = WIDTH - MARGIN["l"] - MARGIN["r"], HEIGHT - MARGIN["t"] - MARGIN["b"]

    def pixel(x: float, y: float) -> tuple[float, float]:
        return (x - data.x.low) / (data.x.high - data.x.low) * width, (y - y_low) / (y_high - y_low) * height

    spots = [pixel(p.x.value, p.y.value) for p in panel.points]
    lines = [(*pixel(*line[:2]), *pixel(*line[2:])) for line in thin_lines(panel)]
    labels = [
        Label(*pixel(p.x.value, p.y.value), len(p.name) * 7.4 + 4, 16, required=p.role == "reference") for p in points
    ]
    boxes = [(x - 7, y - 7, x + 7, y + 7) for x, y in spots]
    frame = (0.0, 0.0, float(width), float(height))
    thick = [(x0 - 1, y0 - 1, x1 + 1, y1 + 1) for x0, y0, x1, y1 in lines]
    for point, offset in zip(points, place_labels(labels, boxes, frame, thick), strict=True):
        if offset is None:
            continue
        reference = point.role == "reference"
        color = reference_look(point.name).color if reference else INK
        text = escape(point.name)
        figure.add_annotation(
            x=point.x.value,
            y=point.y.value,
            ax=offset[0],
            ay=-offset[1],
            text=f"<b>{text}</b>" if reference else text,
            font={"color": color, "size": 12},
            arrowhead=0,
            arrowwidth=0.8,
            arrowcolor=GREY,
            standoff=6,
        )
