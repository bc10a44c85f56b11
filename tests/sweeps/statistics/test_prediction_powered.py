"""Rates of a judge that errs, corrected by labels: by hand, in the limits of the method, and what intervals cover."""

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import t as student

from sweeps.statistics.prediction_powered import Powered, prediction_powered_rate

Table = NDArray[np.float64]
LABELS, PREDICTED, OTHERS = [1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]


def by_hand(**changes: Any) -> Powered:
    return prediction_powered_rate(LABELS, PREDICTED, "abcd", OTHERS, "ABCDEF", **changes)


def squared_error(found: Powered, prompts: int, confidence: float = 0.5) -> float:
    """What the interval says of the variance, without the two prompts of doubt."""
    reach = (found.high - found.low) / 2 / student.ppf((1 + confidence) / 2, prompts - 1)
    return float(reach**2 - 2 / prompts**2)


def test_an_example_by_hand() -> None:
    found = by_hand(confidence=0.5)
    # Sums of squares: .5 of labels and verdicts on them, .75 of these verdicts, 4 / 3 of the others.
    power = (0.5 / 16) / (0.75 / 16 + 4 / 3 / 36)
    assert found.power == pytest.approx(power)
    assert found.mean == pytest.approx(0.5 + power * (1 / 3 - 1 / 4))
    assert squared_error(found, 4) == pytest.approx(4 / 3 * (1 / 16 - power * 0.5 / 16))


def test_without_power_it_is_the_mean_of_the_labels_and_its_standard_error() -> None:
    found = by_hand(power=0.0, confidence=0.5)
    assert found.mean == pytest.approx(0.5)
    assert squared_error(found, 4) == pytest.approx(np.var(LABELS, ddof=1) / 4)


def test_with_full_power_it_is_prediction_powered_inference() -> None:
    found = by_hand(power=1.0, confidence=0.5)
    assert found.mean == pytest.approx(1 / 3 + 1 / 4), "verdicts on the others, and what the judge missed of the labels"
    errors = np.subtract(LABELS, PREDICTED)
    assert squared_error(found, 4) == pytest.approx(4 / 3 * (np.var(OTHERS) / 6 + np.var(errors) / 4))


def test_the_power_is_that_of_ppi_plus_plus() -> None:
    chance = np.random.default_rng(0)
    truth = (chance.random(400) < 0.4).astype(float)
    told = np.where(chance.random(400) < 0.2, 1 - truth, truth)
    labelled, others = slice(0, 80), slice(80, 400)
    found = prediction_powered_rate(truth[labelled], told[labelled], range(80), told[others], range(80, 400))
    covariance = np.cov(truth[labelled], told[labelled], ddof=0)[0, 1]
    variances = np.var(told[others]) / 320 + np.var(told[labelled]) / 80
    assert found.power == pytest.approx(covariance / 80 / variances)
    # Equation of the paper, with one variance of the verdicts for both samples.
    assert found.power == pytest.approx(covariance / np.var(told) / (1 + 80 / 320), rel=0.1)


def test_verdicts_on_the_labelled_answers_too_change_nothing() -> None:
    chance = np.random.default_rng(1)
    truth = (chance.random(300) < 0.4).astype(float)
    told = np.where(chance.random(300) < 0.15, 1 - truth, truth)
    apart = prediction_powered_rate(truth[:60], told[:60], range(60), told[60:], range(60, 300))
    among = prediction_powered_rate(truth[:60], told[:60], range(60), told, range(300))
    assert among.mean == pytest.approx(apart.mean, abs=2e-3)
    assert among.high - among.low == pytest.approx(apart.high - apart.low, rel=0.03)


def test_a_judge_that_says_nothing_is_not_heeded() -> None:
    chance = np.random.default_rng(2)
    truth, told = (chance.random((2, 500)) < 0.5).astype(float)
    found = prediction_powered_rate(truth[:100], told[:100], range(100), told[100:], range(100, 500))
    assert found.power < 0.2
    never = prediction_powered_rate(truth[:100], np.zeros(100), range(100), np.zeros(400), range(100, 500))
    assert (never.power, never.mean) == (0.0, pytest.approx(truth[:100].mean()))


def test_a_good_judge_makes_few_labels_go_far() -> None:
    chance = np.random.default_rng(3)
    truth = (chance.random(500) < 0.5).astype(float)
    told = np.where(chance.random(500) < 0.04, 1 - truth, truth)
    both = prediction_powered_rate(truth[:60], told[:60], range(60), told[60:], range(60, 500))
    alone = prediction_powered_rate(truth[:60], told[:60], range(60), told[60:], range(60, 500), power=0.0)
    assert both.high - both.low < 0.65 * (alone.high - alone.low)


def test_answers_of_several_models_to_one_prompt_are_one_unit() -> None:
    """The same answers once more, as of a model that says the same, tell nothing new."""
    once = by_hand(confidence=0.5)
    twice = prediction_powered_rate(LABELS * 2, PREDICTED * 2, "abcdabcd", OTHERS * 2, "ABCDEFABCDEF", confidence=0.5)
    assert twice == once
    apart = prediction_powered_rate(LABELS * 2, PREDICTED * 2, "abcdefgh", OTHERS * 2, "ABCDEFGHIJKL", confidence=0.5)
    assert apart.high - apart.low < 0.75 * (once.high - once.low)


def test_weights_stand_for_as_many_answers() -> None:
    weighted = prediction_powered_rate([1, 0, 1], [1, 0, 0], "abc", [1, 0, 0, 0], "abcd", [3, 1, 1], power=1.0)
    assert weighted.mean == pytest.approx(1 / 4 + 1 / 5)


def test_labels_that_all_agree_with_the_judge_do_not_prove_that_it_never_errs() -> None:
    found = prediction_powered_rate([0] * 50, [0] * 50, range(50), [0] * 100, range(50, 150))
    assert (found.mean, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(student.ppf(0.975, 49) * 2**0.5 / 50)
    assert found.high < 1 - 0.025 ** (1 / 50), "the exact bound where nothing was seen"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([1, 0], [1], "ab", [1], "a"), r"labels \(2\), predicted \(1\)"),
        (([1, 0], [1, 0], "ab", [1, 0], "a"), r"verdicts \(2\) and verdict_prompts \(1\)"),
        (([2, 0], [1, 0], "ab", [1], "a"), "labels must lie between 0 and 1"),
        (([1, 0], [0.5, 0], "ab", [1], "a"), "must be 0 or 1"),
        (([1, 0], [1, 0], "ab", [1], "a", [0, 1]), "weights must be above 0"),
        (([1, 0], [1, 0], "ab", [], ""), "at least one answer must be judged"),
        (([1, 0], [1, 0], "aa", [1], "a"), "labels are of 1 prompts"),
    ],
)
def test_what_cannot_be_is_refused(arguments: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        prediction_powered_rate(*arguments)


def covered(
    chance: np.random.Generator, rates: list[float], false_alarms: float, misses: float, prompts: int, labelled: int
) -> bool:
    """Whether the interval of one simulated sweep covers the rate that is true of all prompts.

    Some prompts are hard for all models, and some for the judge, whoever answers them. Labels are of answers that were
    drawn alike.
    """
    normal = NormalDist()
    models = len(rates)

    def common(likeness: float) -> Table:
        luck: Table = np.sqrt(likeness) * chance.normal(size=prompts)
        return luck + np.sqrt(1 - likeness) * chance.normal(size=(models, prompts))

    truth = common(0.5) < np.array([[normal.inv_cdf(rate)] for rate in rates])
    errs = common(0.5) < np.where(truth, normal.inv_cdf(misses), normal.inv_cdf(false_alarms))
    told = (truth ^ errs).astype(float).ravel()
    ids = np.tile(np.arange(prompts), models).tolist()
    drawn = chance.choice(models * prompts, labelled, replace=False)
    found = prediction_powered_rate(
        truth.ravel()[drawn].astype(float), told[drawn], [ids[one] for one in drawn], told, ids
    )
    return found.low <= float(np.mean(rates)) <= found.high


JUDGES = [
    pytest.param([0.3], 0.1, 0.2, 100, 50, id="one model"),
    pytest.param([0.05], 0.02, 0.2, 100, 50, id="hardly any"),
    pytest.param([0.95], 0.1, 0.05, 100, 50, id="nearly all"),
    pytest.param([0.1], 0.3, 0.05, 500, 50, id="false alarms"),
    pytest.param([0.3], 0.02, 0.02, 500, 50, id="a good judge"),
    pytest.param([0.02, 0.66, 0.14, 0.1, 0.2, 0.3, 0.4, 0.5], 0.1, 0.1, 100, 50, id="eight models"),
    pytest.param([0.02, 0.66, 0.14, 0.1, 0.2, 0.3, 0.4, 0.5], 0.1, 0.1, 50, 200, id="eight models, few prompts"),
]
"""True rates, the judge's rates of false alarms and of misses, prompts, labels."""


@pytest.mark.parametrize(("rates", "alarms", "misses", "prompts", "labelled"), JUDGES)
def test_intervals_cover_in_93_of_100(
    rates: list[float], alarms: float, misses: float, prompts: int, labelled: int
) -> None:
    chance = np.random.default_rng(1)
    assert sum(covered(chance, rates, alarms, misses, prompts, labelled) for _ in range(1000)) >= 930
