"""What a searcher draws: numbers and choices, whatever they mean for a trial."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class FloatDimension:
    """A real number in ``[low, high]``, drawn on a log scale where ``log``."""

    low: float
    high: float
    log: bool = False

    def at(self, share: float) -> float:
        """The value below which lies ``share``, in [0, 1], of the dimension on its scale."""
        if share in (0, 1):  # exactly the ends, whatever rounding does in between
            return self.high if share else self.low
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return min(max(math.exp(low + share * (high - low)), self.low), self.high)
        return self.low + share * (self.high - self.low)


@dataclass(frozen=True)
class IntDimension:
    """A whole number in ``[low, high]``, both included, in steps of ``step``."""

    low: int
    high: int
    step: int = 1

    @property
    def values(self) -> range:
        """All values, ascending."""
        return range(self.low, self.high + 1, self.step)

    def at(self, share: float) -> int:
        """The value in which ``share``, in [0, 1], falls when all values take the same room."""
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]


@dataclass(frozen=True)
class CategoricalDimension:
    """One of ``choices``, unordered; each choice is the JSON text of its value."""

    choices: tuple[str, ...]

    def at(self, share: float) -> str:
        """The choice in which ``share``, in [0, 1], falls when all choices take the same room."""
        return self.choices[min(int(share * len(self.choices)), len(self.choices) - 1)]


Dimension = FloatDimension | IntDimension | CategoricalDimension
Drawn = float | int | str
"""What is drawn for one dimension."""
