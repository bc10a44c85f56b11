"""Labels beside points that cover neither each other nor the points (pure geometry, in pixels)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Rectangle = tuple[float, float, float, float]
"""Left, lower, right, upper."""


@dataclass(frozen=True)
class Label:
    """A text to place beside a point."""

    x: float
    y: float
    width: float
    height: float
    required: bool
    """An optional label is left out rather than put over something."""


def place_labels(
    labels: Sequence[Label], obstacles: Sequence[Rectangle], frame: Rectangle, lines: Sequence[Rectangle] = ()
) -> list[tuple[float, float] | None]:
    """Where the centre of each label goes, relative to its point; greedy, required ones first.

    Args:
        labels: in pixels, y upwards.
        obstacles: markers and other things that no label may cover.
        frame: the drawing area, which no label may leave.
        lines: thin things that labels rather do not cross, but may.

    Returns:
        (dx, dy) per label, or None for an optional label that has no free place.
    """
    offsets: list[tuple[float, float] | None] = [None] * len(labels)
    taken: list[Rectangle] = list(obstacles)
    for index in sorted(range(len(labels)), key=lambda i: not labels[i].required):
        label = labels[index]
        costs = [(_cost(label, offset, taken, frame, lines), offset) for offset in _candidates(label)]
        cost, offset = min(costs, key=lambda pair: pair[0])
        if label.required or cost < 1.0:
            offsets[index] = offset
            taken.append(_rectangle(label, offset))
    return offsets


def _candidates(label: Label) -> list[tuple[float, float]]:
    """Near places first, and of these right and left before above and below."""
    found = []
    for distance in (10.0, 18.0, 30.0, 46.0, 64.0, 90.0):
        for angle in (0, 180, 45, 135, -45, -135, 90, -90, 22, 158, -22, -158):
            cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            reach = distance + abs(cosine) * label.width / 2, distance + abs(sine) * label.height / 2
            found.append((cosine * reach[0], sine * reach[1]))
    return found


def _rectangle(label: Label, offset: tuple[float, float]) -> Rectangle:
    x, y = label.x + offset[0], label.y + offset[1]
    return x - label.width / 2, y - label.height / 2, x + label.width / 2, y + label.height / 2


def _cost(
    label: Label,
    offset: tuple[float, float],
    taken: Sequence[Rectangle],
    frame: Rectangle,
    lines: Sequence[Rectangle],
) -> float:
    """Below 1 where nothing is covered; then it is clarity that decides, and the distance."""
    box = _rectangle(label, offset)
    area = label.width * label.height
    covered = sum(_overlap(box, other) for other in taken) / area
    outside = 1.0 - _overlap(box, frame) / area
    blocked = 1.0 + covered + 4 * outside if covered > 0.0 or outside > 1e-9 else 0.0
    crossed = min(8, sum(_overlap(box, line) > 0.0 for line in lines))
    near = (box[0] - 7, box[1] - 7, box[2] + 7, box[3] + 7)
    others = [other for other in taken if not _holds(other, label.x, label.y)]
    mistakable = sum(_overlap(near, other) > 0.0 for other in others)  # would be read as the name of that point
    leader = [(label.x + offset[0] * share, label.y + offset[1] * share) for share in (0.2, 0.4, 0.6, 0.8)]
    through = sum(any(_holds(other, *spot) for spot in leader) for other in others)
    return blocked + min(0.9, 0.03 * crossed + 0.04 * mistakable + 0.12 * through + math.hypot(*offset) / 600)


def _holds(box: Rectangle, x: float, y: float) -> bool:
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]


def _overlap(first: Rectangle, second: Rectangle) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(0.0, width) * max(0.0, height)
