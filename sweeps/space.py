"""The search space: which leaves of a trial are searched, and over what."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, TypeAdapter, ValidationError, model_validator

from training.config import Config


@dataclass(frozen=True)
class FloatDimension:
    """A real number in ``[low, high]``, drawn on a log scale where ``log``."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class IntDimension:
    """A whole number in ``[low, high]``, both included, in steps of ``step``."""

    low: int
    high: int
    step: int = 1


@dataclass(frozen=True)
class CategoricalDimension:
    """One of ``choices``, unordered; each choice is the JSON text of its value."""

    choices: tuple[str, ...]


Dimension = FloatDimension | IntDimension | CategoricalDimension


class _Interval(Config):
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


class Uniform(_Interval):
    """A real number, linear scale."""

    type: Literal["uniform"]
    """Linear scale."""

    def dimensions(self, path: str, depth: int) -> dict[str, Dimension]:
        """What a searcher draws for ``path``."""
        return {path: FloatDimension(self.low, self.high)}

    def decode(self, path: str, drawn: Mapping[str, Any]) -> Any:
        """The trial's value from what a searcher drew."""
        return float(drawn[path])


class LogUniform(_Interval):
    """A positive real number, logarithmic scale."""

    type: Literal["loguniform"]
    """Logarithmic scale."""

    @model_validator(mode="after")
    def _positive(self) -> Self:
        if self.low <= 0:
            raise ValueError(f"low ({self.low}) must be above 0 on a log scale")
        return self

    def dimensions(self, path: str, depth: int) -> dict[str, Dimension]:
        """What a searcher draws for ``path``."""
        return {path: FloatDimension(self.low, self.high, log=True)}

    def decode(self, path: str, drawn: Mapping[str, Any]) -> Any:
        """The trial's value from what a searcher drew."""
        return float(drawn[path])


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
        return {path: IntDimension(self.low, self.high, self.step)}

    def decode(self, path: str, drawn: Mapping[str, Any]) -> Any:
        """The trial's value from what a searcher drew."""
        return int(drawn[path])


class Choice(Config):
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

    def decode(self, path: str, drawn: Mapping[str, Any]) -> Any:
        """The trial's value from what a searcher drew."""
        return json.loads(drawn[path])


class LayerRange(Config):
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

    def decode(self, path: str, drawn: Mapping[str, Any]) -> Any:
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
                text = first["msg"].removeprefix("Value error, ")
                raise ValueError(f"search.{path}{'.' + where if where else ''} ({value!r}): {text}") from error
        else:
            yield from _walk(value, f"{path}.")


def set_path(tree: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of the nested mapping ``tree`` with ``value`` at the dotted ``path``."""
    head, _, rest = path.partition(".")
    if not rest:
        return {**tree, head: value}
    branch = tree.get(head)
    return {**tree, head: set_path(branch if isinstance(branch, Mapping) else {}, rest, value)}


@dataclass(frozen=True)
class SearchSpace:
    """The searched leaves of one model's trials."""

    ranges: Mapping[str, Range]
    depth: int
    """Decoder layers of the model."""

    def dimensions(self) -> dict[str, Dimension]:
        """Everything a searcher has to draw for one trial."""
        found: dict[str, Dimension] = {}
        for path, searched in self.ranges.items():
            found |= searched.dimensions(path, self.depth)
        return found

    def decode(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """Searched values by dotted path, from what a searcher drew."""
        return {path: searched.decode(path, drawn) for path, searched in self.ranges.items()}
