"""The search space of one model: which fields of a trial are searched, over what, in which order, and when."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sweeps.space.conditions import Rule, built_in, check_rules, draw_order, value_at
from sweeps.space.dimensions import CategoricalDimension, Dimension, Drawn, FloatDimension, IntDimension
from sweeps.space.layer_ranges import LayerRange
from sweeps.space.ranges import Choice, Integer, LogUniform, Range, Uniform, parse_ranges

__all__ = [
    "CategoricalDimension",
    "Choice",
    "Dimension",
    "Drawn",
    "FloatDimension",
    "IntDimension",
    "Integer",
    "LayerRange",
    "LogUniform",
    "Range",
    "SearchSpace",
    "Uniform",
    "parse_ranges",
    "set_path",
]

LARGEST_GRID = 100_000


def set_path(tree: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of the nested mapping ``tree`` with ``value`` at the dotted ``path``."""
    head, _, rest = path.partition(".")
    if not rest:
        return {**tree, head: value}
    branch = tree.get(head)
    return {**tree, head: set_path(branch if isinstance(branch, Mapping) else {}, rest, value)}


@dataclass(frozen=True)
class SearchSpace:
    """The searched fields of one model's trials.

    Fields are drawn one after the other, since whether one is drawn can depend on the value of another; a field that is
    not drawn is absent from the trial's params and keeps its fixed value.
    """

    ranges: Mapping[str, Range]
    """By dotted path of the trial's field."""
    depth: int
    """Decoder layers of the model."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """The trial's settings, nested, which ``when`` may look at where they are not searched."""

    def check(self) -> None:
        """Refuse conditions that cannot be read, that look at nothing, or that wait for each other.

        Raises:
            ValueError: the sentence names the field and the fix.
        """
        choices = {path: searched.values if isinstance(searched, Choice) else [] for path, searched in self._items()}
        check_rules(self._rules, self.fixed, choices)
        draw_order(list(self.ranges), self._rules)

    def check_grid(self) -> None:
        """Refuse what a grid cannot enumerate.

        Raises:
            ValueError: the sentence names the field and the fix.
        """
        sizes = {path: len(searched.grid(self.depth)) for path, searched in self._items()}
        for path, searched in self._items():
            if not sizes[path]:
                fix = (
                    "has too many subsets: search one layer or a band"
                    if isinstance(searched, LayerRange)
                    else "is a range of real numbers: say how many values to take by grid_points"
                )
                raise ValueError(f"search.{path} cannot be put on a grid, since it {fix}, or change searcher.sampler")
        if math.prod(sizes.values()) > LARGEST_GRID:
            raise ValueError(
                f"search has {math.prod(sizes.values())} combinations, of which a grid takes at most {LARGEST_GRID}: "
                "search fewer values, or change searcher.sampler"
            )

    def dimensions(self) -> dict[str, Dimension]:
        """Everything that a searcher may have to draw for a trial, by name."""
        found: dict[str, Dimension] = {}
        for path, searched in self._items():
            found |= searched.dimensions(path, self.depth)
        return found

    def draw(self, suggest: Callable[[str, Dimension], Drawn]) -> dict[str, Any]:
        """One trial's searched values by dotted path; ``suggest`` is asked for the dimensions of drawn fields only."""
        params: dict[str, Any] = {}
        for path in self._order:
            if self._drawn(path, params):
                searched = self.ranges[path]
                names = searched.dimensions(path, self.depth)
                params[path] = searched.decode(path, {name: suggest(name, names[name]) for name in names})
        return self._as_written(params)

    def decode(self, drawn: Mapping[str, Drawn]) -> dict[str, Any]:
        """Searched values by dotted path, from what a searcher drew."""
        return self.draw(lambda name, dimension: drawn[name])

    def at(self, shares: Sequence[float]) -> dict[str, Any]:
        """Searched values at a point of the unit cube, which has one axis for each of :meth:`dimensions`."""
        axes = dict(zip(self.dimensions(), shares, strict=True))
        return self.draw(lambda name, dimension: dimension.at(axes[name]))

    def encode(self, values: Mapping[str, Any]) -> dict[str, Drawn]:
        """What a searcher would have drawn for ``values`` by dotted path; those of fields that are not drawn are left.

        Raises:
            ValueError: a drawn field has no value, or one outside its range.
        """
        drawn: dict[str, Drawn] = {}
        params: dict[str, Any] = {}
        for path in self._order:
            if self._drawn(path, params):
                if path not in values:
                    raise ValueError(f"{path} has no value")
                params[path] = values[path]
                drawn |= self.ranges[path].encode(path, values[path], self.depth)
        return drawn

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every combination of the ranges' grids, each once: fields that are not drawn multiply nothing."""
        for params in self._grid(self._order, {}):
            yield self._as_written(params)

    def _grid(self, paths: Sequence[str], params: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if not paths:
            yield params
        elif not self._drawn(paths[0], params):
            yield from self._grid(paths[1:], params)
        else:
            for value in self.ranges[paths[0]].grid(self.depth):
                yield from self._grid(paths[1:], {**params, paths[0]: value})

    def _items(self) -> list[tuple[str, Range]]:
        return list(self.ranges.items())

    def _as_written(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {path: params[path] for path in self.ranges if path in params}

    @cached_property
    def _rules(self) -> list[Rule]:
        choices = {path: searched.values for path, searched in self._items() if isinstance(searched, Choice)}
        written = [Rule(path, condition) for path, searched in self._items() for condition in searched.conditions]
        return written + built_in(list(self.ranges), self.fixed, choices)

    @cached_property
    def _order(self) -> list[str]:
        return draw_order(list(self.ranges), self._rules)

    def _drawn(self, path: str, params: Mapping[str, Any]) -> bool:
        return all(self._holds(rule, params) for rule in self._rules if rule.path == path)

    def _holds(self, rule: Rule, params: Mapping[str, Any]) -> bool:
        """A field that looks at one that is not drawn is not drawn either."""
        path = rule.condition.path
        if path in self.ranges:
            return path in params and rule.condition.holds(params[path])
        try:
            return rule.condition.holds(value_at(self.fixed, path))
        except KeyError:
            return rule.condition.holds(None)
