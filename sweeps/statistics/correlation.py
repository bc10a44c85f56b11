"""Rank correlation: how well a value that is cheap to measure orders trials as the final one does."""

import numpy as np
from numpy.typing import ArrayLike


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float | None:
    """Spearman's rank correlation, ties at their mean rank, over the pairs in which both values are finite.

    Args:
        first: ``[n]``.
        second: ``[n]``, in the same order.

    Returns:
        between -1 and 1; None where fewer than two pairs are left or one side is constant, so that it orders nothing.

    Raises:
        ValueError: the shapes do not match.
    """
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.ndim != 1 or one.shape != two.shape:
        raise ValueError(f"first {one.shape} and second {two.shape} must be lists of the same length")
    both = np.isfinite(one) & np.isfinite(two)
    one, two = one[both], two[both]
    if len(one) < 2 or (one == one[0]).all() or (two == two[0]).all():
        return None
    from scipy.stats import rankdata  # half a second to import

    # spearmanr is this but for the last bits, by which the reports of one journal would differ between versions.
    return float(np.corrcoef(rankdata(one), rankdata(two))[0, 1])
