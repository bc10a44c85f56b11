import numpy as np
import pytest
from scipy.stats import binomtest

from sweeps.statistics.intervals import wilson_interval
from sweeps.statistics.paired import mcnemar_p_value, paired_difference


def width(interval):
    return interval[1] - interval[0]


@pytest.mark.parametrize(("only_first", "only_second", "both"), [(0, 0, 5), (3, 0, 9), (10, 2, 20), (7, 7, 0)])
def test_mcnemar_equals_the_binomial_test(only_first, only_second, both):
    first = [1] * only_first + [0] * only_second + [1] * both
    second = [0] * only_first + [1] * only_second + [1] * both
    differing = only_first + only_second
    expected = binomtest(min(only_first, only_second), differing, 0.5).pvalue if differing else 1.0
    assert mcnemar_p_value(first, second) == pytest.approx(expected)
    assert mcnemar_p_value(second, first) == pytest.approx(expected)


def test_mcnemar_refuses_what_is_no_verdict():
    with pytest.raises(ValueError, match="same prompts"):
        mcnemar_p_value([1, 0], [1])
    with pytest.raises(ValueError, match="only 0 and 1"):
        mcnemar_p_value([1.0, np.nan], [1.0, 0.0])


def test_paired_difference_of_rates_in_closed_form():
    first, second = np.array([1] * 30 + [0] * 70), np.array([1] * 20 + [0] * 10 + [1] * 2 + [0] * 68)
    found = paired_difference([first], [second])
    assert found.mean == pytest.approx(0.08)
    assert found.p_value == pytest.approx(2 * (1 + 12 + 66) / 2**12)  # at most 2 of 12 differing prompts
    assert 0 < found.low < 0.08 < found.high


def test_a_paired_difference_of_models_that_agree_everywhere_is_not_certain():
    same = np.array([[1.0] * 10 + [0.0] * 90])
    found = paired_difference(same, same)
    assert (found.mean, found.p_value) == (0.0, 1.0)
    assert found.low < 0 < found.high


def test_pairing_is_narrower_than_two_independent_samples():
    rng = np.random.default_rng(0)
    first = (rng.random((1, 400)) < 0.5).astype(float)
    second = np.where(rng.random((1, 400)) < 0.05, 1 - first, first)
    found = paired_difference(first, second)
    one, two = (wilson_interval(int(x.sum()), 400) for x in (first, second))
    independent = np.hypot(width(one), width(two))
    assert found.high - found.low < 0.6 * independent


def test_seeds_that_differ_make_a_difference_less_sure():
    rng = np.random.default_rng(1)
    reference = (rng.random((1, 300)) < 0.5).astype(float)
    steady = np.stack([(rng.random(300) < 0.3).astype(float) for _ in range(3)])
    varied = np.stack([(rng.random(300) < rate).astype(float) for rate in (0.05, 0.3, 0.55)])
    alike, apart = paired_difference(steady, reference), paired_difference(varied, reference)
    assert apart.high - apart.low > 1.5 * (alike.high - alike.low)
    assert alike.p_value < 0.01 < apart.p_value


def test_impossible_tables_are_refused():
    with pytest.raises(ValueError, match=r"second of shape \(2,\) must be \[seeds, prompts\]"):
        paired_difference([[1, 0]], [1, 0])
    with pytest.raises(ValueError, match="of 0 and 1"):
        paired_difference([[0.5, 1.0]], [[0, 1]])
    with pytest.raises(ValueError, match=r"first \(2 prompts\) and second \(3\)"):
        paired_difference([[1, 0]], [[1, 0, 1]])


def test_seeds_that_both_were_trained_under_are_drawn_together():
    base = np.arange(100) < np.array([[20], [50], [80]])
    better = np.arange(100) < np.array([[10], [40], [70]])
    together, apart = (paired_difference(better, base, same_seeds=same) for same in (True, False))
    assert together.mean == apart.mean == pytest.approx(-0.1)
    assert together.high < 0 < apart.high
    assert together.p_value < 0.05 < apart.p_value
    with pytest.raises(ValueError, match="same seeds"):
        paired_difference(better, base[:2], same_seeds=True)


def test_a_p_value_is_not_stopped_by_the_number_of_draws():
    """Else nothing could hold among many comparisons: 50 of them would make at least 0.05 of it."""
    clear = paired_difference(np.arange(200) < np.array([[20], [22]]), np.arange(200) < np.array([[150], [155]]))
    assert 0 < clear.p_value < 1e-6
    same = np.arange(200) < np.array([[20], [22]])
    assert paired_difference(same, same).p_value == 1.0
