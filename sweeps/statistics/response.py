"""What a metric may be between the settings that were tried: a Gaussian process, with how little it knows (SciPy)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
FEWEST = 8
"""Trials below which nothing is said."""
_LENGTHS = (0.1, 3.0)
"""Bounds of the length scales, in widths of the searched range."""
_NOISE = (1e-3, 1.0)
"""Bounds of the noise's deviation, in deviations of the values: training has luck, and other settings have effects."""


@dataclass(frozen=True)
class Surface:
    """Means and deviations at places, in the metric's unit."""

    mean: Array
    """``[places]``."""
    deviation: Array
    """``[places]`` of the metric itself, without the luck of one more training."""
    spread: float
    """Deviation that is left far from every trial."""


def response_surface(places: ArrayLike, values: ArrayLike, at: ArrayLike) -> Surface:
    """The metric at the places ``at``, given its ``values`` at ``places``.

    A Gaussian process with a Matérn kernel (smoothness 5/2), a length scale for each setting and noise, whose
    logarithms maximise the marginal likelihood (Rasmussen and Williams 2006, 2.25 and 5.8) under a weak normal prior,
    which keeps few trials from being taken for a steep surface or for none.

    Args:
        places: ``[trials, settings]``, each setting scaled to 0..1.
        values: ``[trials]``.
        at: ``[places, settings]``, scaled alike.

    Raises:
        ValueError: there are fewer than ``FEWEST`` trials, or the shapes do not match.
    """
    from scipy.linalg import cho_factor, cho_solve
    from scipy.optimize import minimize

    tried, wanted = np.asarray(places, dtype=np.float64), np.asarray(at, dtype=np.float64)
    found = np.asarray(values, dtype=np.float64)
    if tried.ndim != 2 or wanted.ndim != 2 or tried.shape[1] != wanted.shape[1] or len(found) != len(tried):
        raise ValueError(f"places {tried.shape}, values {found.shape} and at {wanted.shape} do not match")
    if len(tried) < FEWEST:
        raise ValueError(f"{len(tried)} trials are too few for a surface: {FEWEST} at least")
    middle, scale = float(found.mean()), float(found.std()) or 1.0
    target = (found - middle) / scale
    bounds = np.log([*[_LENGTHS] * tried.shape[1], _NOISE])
    start = np.log([*[0.5] * tried.shape[1], 0.3])

    def covariance(settings: Array) -> Array:
        noise = np.exp(2 * settings[-1]) * np.eye(len(tried))
        return np.asarray(_matern(tried, tried, np.exp(settings[:-1])) + noise + 1e-8 * np.eye(len(tried)))

    def loss(settings: Array) -> float:
        lower, _ = factor = cho_factor(covariance(settings), lower=True)
        fit = 0.5 * float(target @ cho_solve(factor, target)) + float(np.log(np.diag(lower)).sum())
        return fit + 0.5 * float(((settings - start) ** 2).sum())

    best = minimize(loss, start, method="L-BFGS-B", bounds=bounds).x
    factor = cho_factor(covariance(best), lower=True)
    between = _matern(wanted, tried, np.exp(best[:-1]))
    mean = between @ cho_solve(factor, target)
    variance = 1.0 - np.einsum("ij,ji->i", between, cho_solve(factor, between.T))
    return Surface(middle + scale * mean, scale * np.sqrt(np.clip(variance, 0.0, None)), scale)


def _matern(one: Array, other: Array, lengths: Array) -> Array:
    """``[n, m]`` correlations of smoothness 5/2."""
    apart = np.sqrt(5.0 * ((one[:, None] / lengths - other[None] / lengths) ** 2).sum(axis=-1))
    return np.asarray((1 + apart + apart**2 / 3) * np.exp(-apart))
