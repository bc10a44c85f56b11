"""Whether the best trials lie at the edge of what was searched (pure)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sweeps.space.layer_ranges import LayerRange
from sweeps.space.ranges import Integer, LogUniform, Range, Uniform

NEAR = 0.05
"""Within this share of a range's length, on its scale, a value lies at its end."""


def boundary_notes(
    ranges: Mapping[str, Range], members: Sequence[Mapping[str, Any]], depth: int | None
) -> Iterator[str]:
    """A sentence for every range at one end of which at least half of the front lies, and two trials or more.

    Args:
        ranges: what was searched, by dotted path.
        members: trials of ``front.json`` on the front.
        depth: decoder layers of the model; none leaves layers out.
    """
    for path, searched in ranges.items():
        ends = [_end(searched, trial["params"].get(path), depth) for trial in members]
        for end in ("lower", "upper"):
            count = ends.count(end)
            if count < 2 or 2 * count < len(members):
                continue
            where = f"{count} of {len(members)} trials on the front have {path}"
            if isinstance(searched, LayerRange):
                edge = "first" if end == "lower" else "last"
                yield f"{where} at the model's {edge} layer: search a band of layers (choose: band) rather than one"
            else:
                bound = getattr(searched, "low" if end == "lower" else "high")
                yield f"{where} at the {end} end of its range ({bound:g}): widen the range beyond it"


def _end(searched: Range, value: Any, depth: int | None) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(searched, LayerRange):
        return None if depth is None or depth < 3 else {0: "lower", depth - 1: "upper"}.get(int(value))
    if not isinstance(searched, Uniform | LogUniform | Integer):
        return None
    low, high, at = float(searched.low), float(searched.high), float(value)
    if isinstance(searched, LogUniform):
        low, high, at = math.log(low), math.log(high), math.log(at)
    share = (at - low) / (high - low)
    return "lower" if share <= NEAR else "upper" if share >= 1 - NEAR else None
