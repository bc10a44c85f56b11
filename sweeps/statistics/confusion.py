"""What a judge says of answers against what people say: two by two, and how far both agree beyond chance."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def confusion(labels: ArrayLike, predicted: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """``[2, 2]`` weight of answers by label (row) and verdict (column): no and yes each.

    Args:
        labels: ``[n]`` between 0 and 1; an answer that people disagree on counts in both rows, by its share.
        predicted: ``[n]`` of 0 and 1.
        weights: ``[n]``; None counts each answer once.

    Raises:
        ValueError: the lengths differ.
    """
    truth, told = np.asarray(labels, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    share = np.ones(len(truth)) if weights is None else np.asarray(weights, dtype=np.float64)
    if not len(truth) == len(told) == len(share):
        raise ValueError(f"labels ({len(truth)}), predicted ({len(told)}) and weights ({len(share)}) must be as many")
    by_label = np.stack([share * (1 - truth), share * truth])
    return np.stack([by_label @ (1 - told), by_label @ told], axis=1)


def kappa(table: Sequence[Sequence[float]] | Array) -> float | None:
    """Cohen's kappa (1960) of a table of two by two.

    Returns:
        between -1 and 1; None where the table is empty or chance alone agrees fully.
    """
    counts = np.asarray(table, dtype=np.float64)
    total = float(counts.sum())
    if total <= 0:
        return None
    shares = counts / total
    by_chance = float(shares.sum(axis=0) @ shares.sum(axis=1))
    return None if by_chance > 1 - 1e-12 else (float(np.trace(shares)) - by_chance) / (1 - by_chance)
