import numpy as np
import pytest
from scipy.stats import spearmanr

from sweeps.statistics.correlation import rank_correlation


def test_rank_correlation_equals_scipy():
    generator = np.random.default_rng(0)
    for _ in range(20):
        first, second = generator.integers(0, 6, 25), generator.normal(size=25)  # many ties
        assert rank_correlation(first, second) == pytest.approx(spearmanr(first, second).statistic)


def test_rank_correlation_needs_something_to_order():
    assert rank_correlation([1, 2, 3], [10, 100, 1000]) == pytest.approx(1.0)
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None
    assert rank_correlation([1.0], [2.0]) is None
    assert rank_correlation([1, 2, np.nan, 3], [3, 2, 9, np.inf]) == pytest.approx(-1.0)
    with pytest.raises(ValueError, match="same length"):
        rank_correlation([1, 2], [1])
