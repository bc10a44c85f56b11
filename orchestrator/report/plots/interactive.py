"""The interactive figures of ``front.html``."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from orchestrator.front.schema.values import Measured
from orchestrator.report.plots.labels import Label, place_labels
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

WIDTH, HEIGHT = 760, 560
DRIFT_WIDTH = 440
COURSE_WIDTH = 700
MARGIN = {"l": 70, "r": 20, "t": 40, "b": 104}
COLORBAR = 96
LABELLED_FRONT = 15
BARS_OF_DOMINATED = 60


def scatter(data: PlotData, panel: Panel) -> Any:
    """One model's trials, front and references."""
    figure = _figure(data.x, data.y, WIDTH + (COLORBAR if data.shade else 0))
    dominated, front, references = panel.of("dominated"), panel.of("front"), panel.of("reference")
    _points(figure, data, dominated, "trial off the front", size=8, opacity=0.5, rim=0, bars=PALE)
    infeasible = panel.of("infeasible")
    if infeasible:
        _trace(figure, infeasible, "breaks a feasibility rule", {"symbol": "x-thin-open", "size": 8, "color": GREY})
    if panel.staircase:
        xs, ys = zip(*panel.staircase, strict=True)
        line = {"color": FRONT_LINE, "width": 2}
        figure.add_scatter(x=xs, y=ys, mode="lines", line=line, name="Pareto front", hoverinfo="skip")
    confirmed, others = panel.front(confirmed=True), panel.front(confirmed=False)
    _points(figure, data, confirmed, "trial on the front", size=13, opacity=1.0, rim=1.5, bars=INK)
    _points(figure, data, others, UNCONFIRMED, size=12, opacity=1.0, rim=2.5, bars=INK, symbol="circle-open")
    for point in references:
        look = reference_look(point.name)
        size = 17 if look.plotly == "star" else 12
        marker = {"symbol": look.plotly, "size": size, "color": look.color, "line": {"color": "white", "width": 1}}
        _trace(figure, [point], point.name, marker, bars=look.color, with_y=data.y is not None)
    if data.shade and panel.points:
        _colorbar(figure, data.shade)
    _labels(figure, data, panel, [*references, *(front if len(front) <= LABELLED_FRONT else ())])
    return figure


def comparison(data: PlotData) -> Any:
    """The fronts of all models; colour is the model, shape the reference."""
    figure = _figure(data.x, data.y, WIDTH)
    for index, panel in enumerate(data.panels):
        color = model_color(index)
        group: dict[str, Any] = {"legendgroup": panel.model}
        if panel.staircase:
            xs, ys = zip(*panel.staircase, strict=True)
            line = {"color": color, "width": 2}
            figure.add_scatter(x=xs, y=ys, mode="lines", line=line, hoverinfo="skip", showlegend=False, **group)
        for confirmed in (True, False):
            marker = {"size": 11, "color": color, "line": {"color": "white", "width": 1}}
            if not confirmed:
                marker |= {"symbol": "circle-open", "line": {"color": color, "width": 2}}
            name = f"{panel.model}: front" + ("" if confirmed else f" ({UNCONFIRMED.removeprefix('on the front, ')})")
            points = panel.front(confirmed=confirmed)
            _trace(figure, points, name, marker, bars=color, with_y=data.y is not None, **group)
        for point in panel.of("reference"):
            look = reference_look(point.name)
            marker = {"symbol": look.plotly, "size": 14, "color": color, "line": {"color": "white", "width": 1}}
            _trace(figure, [point], f"{panel.model}: {point.name}", marker, **group)
    return figure


def drift(shade: Shade | None, panel: Panel) -> Any:
    """Cosine to the direction before training, per layer, of the references and the front."""
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


def course(shade: Shade | None, panel: Panel) -> Any:
    """Drift of the direction and inclination to refuse, step by step, of the references and the front."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06)
    figure.update_layout(**_layout(COURSE_WIDTH))
    figure.update_xaxes(gridcolor=GRID, zeroline=False, linecolor=GREY)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, linecolor=GREY)
    figure.update_xaxes(title="optimizer step", row=2, col=1)
    figure.update_yaxes(title="cosine with the direction<br>before training, mean over layers", row=1, col=1)
    figure.update_yaxes(title="log-odds of a refusal<br>on harmful prompts", row=2, col=1)
    figure.add_hline(y=0, line={"color": GREY, "width": 1, "dash": "dot"}, row=2, col=1)
    # The front first: the references are what it is compared with and lie on top.
    named = False
    for line in sorted(panel.course, key=lambda line: line.role == "reference"):
        if line.role == "reference":
            look = reference_look(line.name)
            style, name, shown = {"color": look.color, "width": 3, "dash": look.dash}, line.name, True
        else:
            style, name, shown = {"color": _color(shade, line.shade), "width": 1.5}, "trials on the front", not named
            named = True
        for row, values in enumerate((line.cosines, line.log_odds), start=1):
            figure.add_scatter(
                x=line.steps,
                y=values,
                name=name,
                line=style,
                mode="lines+markers",
                legendgroup=name,
                showlegend=shown and row == 1,
                hovertemplate=f"{escape(line.name)}<br>step %{{x}}: %{{y:.3f}}<extra></extra>",
                row=row,
                col=1,
            )
    return figure


def _figure(x: Axis | None, y: Axis | None, width: int) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.update_layout(**_layout(width))
    grid = {"gridcolor": GRID, "zeroline": False, "linecolor": GREY}
    figure.update_xaxes(**grid, **({"title": x.title, "range": [x.low, x.high]} if x else {}))
    figure.update_yaxes(**grid, **({"title": y.title, "range": [y.low, y.high]} if y else {}))
    if x and not y:
        figure.update_yaxes(title="trials, best at the top", showticklabels=False)
    return figure


def _layout(width: int) -> dict[str, Any]:
    return {
        "width": width,
        "height": HEIGHT,
        "margin": {**MARGIN, "r": MARGIN["r"] + max(0, width - WIDTH if width == WIDTH + COLORBAR else 0)},
        "plot_bgcolor": "white",
        "font": {"color": INK, "size": 12},
        "hoverlabel": {"align": "left", "bgcolor": "white"},
        "legend": {
            "orientation": "h",
            "yref": "container",
            "y": 0.0,
            "yanchor": "bottom",
            "x": 0,
            "font": {"size": 11},
        },
    }


def _points(
    figure: Any,
    data: PlotData,
    points: Sequence[Point],
    name: str,
    size: int,
    opacity: float,
    rim: float,
    bars: str,
    symbol: str = "circle",
) -> None:
    colors = [_color(data.shade, point.shade) for point in points]
    line = {"color": INK, "width": rim}
    shown = bars if rim or len(points) <= BARS_OF_DOMINATED else None
    marker = {"size": size, "color": colors, "opacity": opacity, "line": line, "symbol": symbol}
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


def _error(values: Sequence[Measured], color: str) -> dict[str, Any] | None:
    ends = [(one.value, one.low, one.high) for one in values if one.low is not None and one.high is not None]
    if len(ends) < len(values):
        return None
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(0.0, high - value) for value, _, high in ends],
        "arrayminus": [max(0.0, value - low) for value, low, _ in ends],
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
