"""The plain records that the drawings of a front read: points, panels, axes and the colour scale (pure)."""

import itertools
import math
from dataclasses import dataclass
from typing import Literal

from orchestrator.front.schema.values import Measured

Role = Literal["front", "dominated", "infeasible", "reference"]


@dataclass(frozen=True)
class Axis:
    """One objective as an axis."""

    metric: str
    title: str
    goal: Literal["minimize", "maximize"]
    low: float
    high: float

    @property
    def better(self) -> str:
        """Which way is good, such as ``lower attack success rate``."""
        direction = "lower" if self.goal == "minimize" else "higher"
        return f"{direction} {self.title.split(' on ')[0].split(':')[0].split(' (')[0]}"


@dataclass(frozen=True)
class Point:
    """One trial or reference in the plane of the first two objectives."""

    id: str
    name: str
    """Short name for a label beside the point."""
    role: Role
    x: Measured
    y: Measured
    shade: float | None
    """Value behind the colour; None is drawn grey."""
    details: tuple[tuple[str, str], ...]
    """(name, value) of everything worth knowing, most important first."""
    doubt: str = ""
    """Of a member of the front: why the values shown do not bear that out; empty where they do."""


@dataclass(frozen=True)
class DriftLine:
    """Cosine between the refusal direction before and after training, layer by layer."""

    name: str
    role: Role
    layers: tuple[int, ...]
    cosines: tuple[float, ...]
    shade: float | None


@dataclass(frozen=True)
class CourseLine:
    """One training from step to step, beginning with the untouched model."""

    name: str
    role: Role
    steps: tuple[int, ...]
    cosines: tuple[float | None, ...]
    """Mean over the layers of the cosine between the refusal direction before training and then."""
    log_odds: tuple[float | None, ...]
    """That an answer to a harmful prompt begins with a refusal, natural."""
    shade: float | None


@dataclass(frozen=True)
class ScaleLine:
    """A reference and its scaled models, from the untouched model to the furthest scale: they cost no training."""

    name: str
    """Of the reference."""
    points: tuple[tuple[float, float], ...]
    """Both objectives."""


@dataclass(frozen=True)
class Panel:
    """One model."""

    model: str
    caption: str
    """How many trials ended how, and the hypervolume."""
    note: str | None
    """Why there is no front, where there is none."""
    points: tuple[Point, ...]
    staircase: tuple[tuple[float, float], ...]
    """Corners of the edge of what the front attains by the values shown; empty unless there are two objectives."""
    drift: tuple[DriftLine, ...]
    course: tuple[CourseLine, ...] = ()
    scaled: tuple[ScaleLine, ...] = ()

    def of(self, *roles: Role) -> tuple[Point, ...]:
        """The points with one of ``roles``."""
        return tuple(point for point in self.points if point.role in roles)

    def front(self, *, confirmed: bool) -> tuple[Point, ...]:
        """The members of the front that the values shown bear out, or those that they do not."""
        return tuple(point for point in self.of("front") if (not point.doubt) is confirmed)


@dataclass(frozen=True)
class Shade:
    """What the colour of a point says."""

    title: str
    low: float
    high: float
    log: bool

    def position(self, value: float) -> float:
        """Where ``value`` lies on the colour scale, from 0 to 1."""
        low, high, at = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return 0.5 if high == low else min(1.0, max(0.0, (at - low) / (high - low)))

    def ticks(self) -> tuple[list[float], list[str]]:
        """Positions on the colour scale and their labels."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            values = [10.0**power for power in range(first, last + 1)]
            values = values if len(values) > 1 else [self.low, self.high]
        else:
            values = [self.low + (self.high - self.low) * share for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
        return [self.position(value) for value in values], [f"{value:.3g}" for value in values]


@dataclass(frozen=True)
class PlotData:
    """Everything the drawings of one sweep show."""

    name: str
    x: Axis
    y: Axis | None
    """None where the sweep has one objective: points are then ranked from best, at the top, to worst."""
    shade: Shade | None
    panels: tuple[Panel, ...]

    @property
    def better(self) -> str:
        """Which corner is good, in words."""
        return ", ".join(axis.better for axis in (self.x, self.y) if axis)


def thin_lines(panel: Panel) -> list[tuple[float, float, float, float]]:
    """(left, lower, right, upper) of the front's edge and the intervals of front and references, for label placing."""
    corners = panel.staircase
    lines = [
        (min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1])) for a, b in itertools.pairwise(corners)
    ]
    for point in panel.of("front", "reference"):
        x, y = point.x, point.y
        if x.low is not None and x.high is not None:
            lines.append((x.low, y.value, x.high, y.value))
        if y.low is not None and y.high is not None:
            lines.append((x.value, y.low, x.value, y.high))
    return lines
