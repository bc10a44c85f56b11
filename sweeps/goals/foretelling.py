"""What a model's answers will score, foretold by what forward passes say of it (pure).

Each objective is taken for a monotone function of its rung metric, fitted to the models of the same base model that
have been measured in full (isotonic regression, Barlow et al. 1972). No more is assumed: how log-odds of a refusal and
attack success belong together differs from model to model.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

LEAST = 5
"""Fewer measured models foretell nothing."""


@dataclass(frozen=True)
class Known:
    """A model that was measured in full."""

    rungs: tuple[float, ...]
    """Rung metrics, one per objective."""
    objectives: tuple[float, ...]
    """Objectives, in the same order."""

    @property
    def whole(self) -> bool:
        """Whether all of it was measured."""
        return all(map(math.isfinite, (*self.rungs, *self.objectives)))


class Foretelling:
    """Objectives of models of which rung metrics alone are known.

    Args:
        known: models that were measured in full; those with a value that is no number are left out.
        rising: for each objective, whether it rises with its rung metric.
    """

    def __init__(self, known: Sequence[Known], rising: Sequence[bool]) -> None:
        rows = [one for one in known if one.whole]
        self.count = len(rows)
        self._curves = [
            _Curve.fitted([one.rungs[at] for one in rows], [one.objectives[at] for one in rows], rises)
            for at, rises in enumerate(rising)
        ]

    @property
    def able(self) -> bool:
        """Whether enough is known."""
        return self.count >= LEAST

    def of(self, rungs: Sequence[float]) -> tuple[float, ...]:
        """The objectives of a model with these rung metrics; NaN where one is no number, or nothing is known."""
        return tuple(curve.at(value) for curve, value in zip(self._curves, rungs, strict=True))


@dataclass(frozen=True)
class _Curve:
    """A monotone curve through some points, level beyond them."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]

    @classmethod
    def fitted(cls, x: Sequence[float], y: Sequence[float], rising: bool) -> "_Curve":
        places, index = np.unique(np.array(x, dtype=float), return_inverse=True)
        if not len(places):
            return cls(places, places)
        weights = np.bincount(index)
        means = np.bincount(index, weights=np.array(y, dtype=float)) / weights
        return cls(places, isotonic_regression(means, weights=weights, increasing=rising).x)

    def at(self, value: float) -> float:
        return float(np.interp(value, self.x, self.y)) if len(self.x) and np.isfinite(value) else float("nan")
