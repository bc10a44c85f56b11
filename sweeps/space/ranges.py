"""The ranges that a ``search`` block may hold."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, TypeAdapter, ValidationError, model_validator

from sweeps.advice import says
from sweeps.space.dimensions import CategoricalDimension, Dimension, Drawn, FloatDimension, IntDimension
from sweeps.space.layer_ranges import LayerRange
from sweeps.space.range_base import RangeBase


class _Interval(RangeBase):
    """What all numbers between two bounds have in common."""

    low: float
    """Smallest value."""
    high: float
    """Largest value."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        return self

    def extremes(self) -> list[Any]:
        """Values that a trial must accept for the whole range to be usable."""
        return [self.low, self.high]

    def _checked(self, path: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            raise ValueError(f"{path} ({value!r}) lies outside {self.low} to {self.high}")
        return value


class _Real(_Interval):
    """What both scales of real numbers have in common."""

    grid_points: int | None = Field(default=None, ge=2)
    """Values that the grid sampler takes, evenly spaced on the scale, both ends included; only read by it."""

    def dimension(self) -> FloatDimension:
        """What a searcher draws."""
        return FloatDimension(self.low, self.high)

    def dimensions(self, path: str, depth: int) -> dict[str, Dimension]:
        """What a searcher draws for ``path``."""
        return {path: self.dimension()}

    def decode(self, path: str, drawn: Mapping[str, Drawn]) -> Any:
        """The trial's value from what a searcher drew."""
        return float(drawn[path])

    def encode(self, path: str, value: Any, depth: int) -> dict[str, Drawn]:
        """What a searcher would have drawn for ``value``; one outside the range raises ``ValueError``."""
        return {path: float(self._checked(path, value))}

    def grid(self, depth: int) -> list[Any]:
        """Every value of a grid; None without ``grid_points``."""
        count = self.grid_points or 0
        return [self.dimension().at(number / (count - 1)) for number in range(count)]


class Uniform(_Real):
    """A real number, linear scale."""

    type: Literal["uniform"]
    """Linear scale."""


class LogUniform(_Real):
    """A positive real number, logarithmic scale."""

    type: Literal["loguniform"]
    """Logarithmic scale."""

    @model_validator(mode="after")
    def _positive(self) -> Self:
        if self.low <= 0:
            raise ValueError(f"low ({self.low}) must be above 0 on a log scale")
        return self

    def dimension(self) -> FloatDimension:
        """What a searcher draws."""
        return FloatDimension(self.low, self.high, log=True)


class Integer(_Interval):
    """A whole number."""

    type: Literal["int"]
    """Whole numbers."""
    low: int
    """Smallest value."""
    high: int
    """Largest value."""
    step: PositiveInt = 1
    """Distance between neighbouring values."""

    def dimensions(self, path: str, depth: int) -> dict[str, Dimension]:
        """What a searcher draws for ``path``."""
        last = range(self.low, self.high + 1, self.step)[-1]
        return {path: IntDimension(self.low, last, self.step)}

    def decode(self, path: str, drawn: Mapping[str, Drawn]) -> Any:
        """The trial's value from what a searcher drew."""
        return int(drawn[path])

    def encode(self, path: str, value: Any, depth: int) -> dict[str, Drawn]:
        """What a searcher would have drawn for ``value``; one that is none of the values raises ``ValueError``."""
        checked = self._checked(path, value)
        if checked not in self.grid(depth):
            raise ValueError(f"{path} ({value!r}) is not {self.low} plus a multiple of {self.step}")
        return {path: int(checked)}

    def grid(self, depth: int) -> list[Any]:
        """Every value."""
        return list(range(self.low, self.high + 1, self.step))


class Choice(RangeBase):
    """One of a few values."""

    type: Literal["choice"]
    """Unordered values."""
    values: list[Any] = Field(min_length=1)
    """The values to choose from."""

    def extremes(self) -> list[Any]:
        """Values that a trial must accept for the whole range to be usable."""
        return self.values

    def dimensions(self, path: str, depth: int) -> dict[str, Dimension]:
        """What a searcher draws for ``path``."""
        return {path: CategoricalDimension(tuple(json.dumps(value) for value in self.values))}

    def decode(self, path: str, drawn: Mapping[str, Drawn]) -> Any:
        """The trial's value from what a searcher drew."""
        return json.loads(str(drawn[path]))

    def encode(self, path: str, value: Any, depth: int) -> dict[str, Drawn]:
        """What a searcher would have drawn for ``value``; one that is none of the choices raises ``ValueError``."""
        for choice in self.values:
            if choice == value and isinstance(choice, bool) == isinstance(value, bool):
                return {path: json.dumps(choice)}
        raise ValueError(f"{path} ({value!r}) is none of {self.values}")

    def grid(self, depth: int) -> list[Any]:
        """Every value."""
        return self.values


Range = Annotated[Uniform | LogUniform | Integer | Choice | LayerRange, Field(discriminator="type")]
_RANGE: TypeAdapter[Range] = TypeAdapter(Range)
RANGE_TYPES = ("uniform", "loguniform", "int", "choice", "layers")


def parse_ranges(search: Mapping[str, Any]) -> dict[str, Range]:
    """The ranges of a ``search`` block by dotted path of the trial's field.

    Raises:
        ValueError: a leaf is not a range; the text names it.
    """
    return dict(_walk(search, ""))


def _walk(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Range]]:
    for key, value in node.items():
        path = f"{prefix}{key}"
        if not isinstance(value, Mapping):
            raise ValueError(
                f"search.{path} ({value!r}) is not a range: write {{type: {' | '.join(RANGE_TYPES)}, …}}, "
                f"or move the fixed value to trial.{path}"
            )
        if isinstance(value.get("type"), str):
            try:
                yield path, _RANGE.validate_python(dict(value))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"][1:])
                raise ValueError(f"search.{path}{'.' + where if where else ''} ({value!r}): {says(first)}") from error
        else:
            yield from _walk(value, f"{path}.")
