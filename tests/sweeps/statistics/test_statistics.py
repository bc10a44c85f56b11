import pytest
from scipy.stats import binomtest, norm, t

from sweeps.statistics.intervals import holm, interval_of_mean, wilson_interval


@pytest.mark.parametrize("total", [1, 7, 100, 1319])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_wilson_equals_scipy(total, confidence):
    for successes in {0, 1, total // 3, total - 1, total}:
        expected = binomtest(successes, total).proportion_ci(confidence, method="wilson")
        assert wilson_interval(successes, total, confidence) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_known_values():
    assert wilson_interval(3, 100) == pytest.approx((0.0103, 0.0845), abs=1e-4)  # the 1.0-8.5 % of a small test set
    assert wilson_interval(0, 10)[0] == 0.0
    assert wilson_interval(10, 10)[1] == 1.0
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_wilson_contains_the_rate_and_narrows_with_prompts():
    low, high = wilson_interval(20, 100)
    wider = wilson_interval(2, 10)
    assert wider[0] < low < 0.2 < high < wider[1]


@pytest.mark.parametrize(
    ("successes", "total", "confidence"), [(-1, 5, 0.95), (6, 5, 0.95), (0, -1, 0.95), (1, 5, 95.0), (1, 5, 0.0)]
)
def test_wilson_refuses_impossible_input(successes, total, confidence):
    with pytest.raises(ValueError, match="must lie between"):
        wilson_interval(successes, total, confidence)


def test_holm_known_values():
    """4 x .005 = .02, 3 x .01 = .03, 2 x .03 = .06, and the last is no smaller than the one before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def test_intervals_of_means_equal_scipys():
    assert interval_of_mean(2.0, 0.5) == pytest.approx(norm.interval(0.95, 2.0, 0.5))
    assert interval_of_mean(2.0, 0.5, 3) == pytest.approx(t.interval(0.95, 2, 2.0, 0.5))
