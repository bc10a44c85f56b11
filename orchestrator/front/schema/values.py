"""Plain values of ``front.json``: numbers, metrics, intervals, counts, and the base of every part (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

T = TypeVar("T")
Omitted = Annotated[T | None, Field(exclude_if=lambda value: value is None)]
"""A key that the document leaves out where there is nothing to say."""
Number = Annotated[int | float, WithJsonSchema({"type": "number"})]
"""Whole numbers stay whole, so that a document is written as it was read."""
Values = Mapping[str, Number | None]
"""Metrics by name; None (null) for what is not a finite number."""
Intervals = Mapping[str, tuple[Number, Number]]
"""95 % intervals by metric, as (low, high)."""
Counts = Mapping[str, tuple[int, int]]
"""(successes, total) behind the rates, by metric."""


@dataclass(frozen=True)
class Measured:
    """A measured value, with its 95 % interval where one is known."""

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        interval = "" if self.low is None or self.high is None else f" [{self.low:.3f}, {self.high:.3f}]"
        return f"{self.value:.3f}{interval}"


class Part(BaseModel):
    """A part of the document; keys that a later version of the same document adds are passed over."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, ser_json_inf_nan="constants")
