"""Decoder layers as something to search, and how a choice carries over to a model of another depth."""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

from sweeps.space.dimensions import CategoricalDimension, Dimension, Drawn, IntDimension
from sweeps.space.range_base import RangeBase
from training.config import resolve_layers


class LayerRange(RangeBase):
    """Decoder layers of the model at hand."""

    type: Literal["layers"]
    """Decoder layers, 0-based."""
    choose: Literal["one", "band", "subset", "all"] = "one"
    """one: a single index, searched as an ordered number; band: a first and a last index; subset: any set of
    indices; all: every layer, not searched."""

    def extremes(self) -> list[Any]:
        """Values that a trial must accept for the whole range to be usable."""
        return ["all"]

    def dimensions(self, path: str, depth: int) -> dict[str, Dimension]:
        """What a searcher draws for ``path`` in a model of ``depth`` decoder layers."""
        index = IntDimension(0, depth - 1)
        if self.choose == "one":
            return {path: index}
        if self.choose == "band":
            return {f"{path}.first": index, f"{path}.last": index}
        if self.choose == "subset":  # one layer is always in, so that no draw is empty
            switch = CategoricalDimension(("false", "true"))
            return {f"{path}.always": index, **{f"{path}.{layer}": switch for layer in range(depth)}}
        return {}

    def decode(self, path: str, drawn: Mapping[str, Drawn]) -> Any:
        """The ``layers`` value from what a searcher drew."""
        if self.choose == "one":
            return int(drawn[path])
        if self.choose == "band":
            first, last = sorted((int(drawn[f"{path}.first"]), int(drawn[f"{path}.last"])))
            return f"{first}-{last}"
        if self.choose == "subset":
            names = {key.removeprefix(f"{path}."): value for key, value in drawn.items() if key.startswith(f"{path}.")}
            chosen = {int(name) for name, value in names.items() if name.isdigit() and value == "true"}
            return sorted(chosen | {int(names["always"])})
        return "all"

    def encode(self, path: str, value: Any, depth: int) -> dict[str, Drawn]:
        """What a searcher would have drawn for ``value``; layers that cannot be so chosen raise ``ValueError``."""
        indices = resolve_layers(value, depth)
        contiguous = all(after == before + 1 for before, after in pairwise(indices))
        if self.choose == "one" and len(indices) == 1:
            return {path: indices[0]}
        if self.choose == "band" and contiguous:
            return {f"{path}.first": indices[0], f"{path}.last": indices[-1]}
        if self.choose == "subset":
            switches = {f"{path}.{layer}": "true" if layer in indices else "false" for layer in range(depth)}
            return {f"{path}.always": indices[0], **switches}
        if self.choose == "all" and len(indices) == depth:
            return {}
        raise ValueError(f"{path} ({value!r}) is not what choose: {self.choose} can give in {depth} layers")

    def grid(self, depth: int) -> list[Any]:
        """Every value of a grid; ``subset`` has none."""
        if self.choose == "one":
            return list(range(depth))
        if self.choose == "band":
            return [f"{first}-{last}" for first in range(depth) for last in range(first, depth)]
        return ["all"] if self.choose == "all" else []


def carry_over(layers: Any, depth: int, other: int) -> Any:
    """``layers`` of a model of ``depth`` decoder layers at the same fraction of the depth of one with ``other``.

    A single layer goes to where its middle falls, a band keeps the share of the depth that it covers, and of any other
    set each layer goes by itself.
    """
    if layers == "all":
        return "all"
    indices = resolve_layers(layers, depth)
    if len(indices) > 1 and indices[-1] - indices[0] == len(indices) - 1:
        first = indices[0] * other // depth
        last = max(first, math.ceil((indices[-1] + 1) * other / depth) - 1)
        return f"{first}-{last}"
    moved = sorted({(2 * index + 1) * other // (2 * depth) for index in indices})
    return moved[0] if len(moved) == 1 else moved
