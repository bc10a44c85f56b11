import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from sweeps.goals.objectives import FeasibilityRule
from sweeps.goals.replicates import Candidate, Estimate, estimate_over_seeds, next_replicate, probability_on_front
from sweeps.statistics.pareto import Goal

GOALS: tuple[Goal, Goal] = ("minimize", "maximize")


def rated(name: str, attack: int, accuracy: int, seeds: int = 1, total: int = 100) -> Candidate:
    """A trial with two rates, counted over ``total`` prompts per seed."""
    asked = total * seeds
    counts = (attack * seeds, asked), (accuracy * seeds, asked)
    return Candidate(name, seeds, tuple(Estimate.of_rate(*count) for count in counts))


def test_a_rate_of_one_seed_is_worth_its_prompts() -> None:
    assert estimate_over_seeds([0.4], [(16, 40)]) == Estimate.of_rate(16, 40)


def test_asking_the_same_prompts_again_is_not_asking_more_and_seeds_that_differ_are_worth_less() -> None:
    again = estimate_over_seeds([0.4, 0.4, 0.4], [(16, 40)] * 3)
    assert again.count == pytest.approx((16, 40))
    apart = estimate_over_seeds([0.2, 0.4, 0.6], [(8, 40), (16, 40), (24, 40)])
    assert apart.value == pytest.approx(0.4)
    assert apart.count is not None
    rate, total = (24 + 0.5 + 24) / 121, apart.count[1]
    # The variance of a rate over so many prompts is that over the 40 asked, and that of three seeds beside it.
    assert rate * (1 - rate) / total == pytest.approx(rate * (1 - rate) / 40 + 0.04 / 3)
    assert apart.count[0] / total == pytest.approx(0.4)
    none = estimate_over_seeds([0.0, 0.0], [(0, 40), (0, 40)])
    assert none.count == pytest.approx((0, 40))


def test_the_error_of_a_mean_joins_samples_and_seeds() -> None:
    one = estimate_over_seeds([2.0], [None], [0.3])
    assert (one.error, one.over_samples) == (pytest.approx(0.3), True)
    three = estimate_over_seeds([1.0, 2.0, 6.0], [None] * 3, [0.3, None, 0.5])
    assert three.value == 3.0
    assert three.error == pytest.approx(math.sqrt((0.09 + 0.25) / 2 + 7.0 / 3))
    seeds_alone = estimate_over_seeds([1.0, 2.0, 6.0], [None] * 3)
    assert (seeds_alone.error, seeds_alone.over_samples) == (pytest.approx(math.sqrt(7.0 / 3)), False)


@pytest.mark.parametrize("errors", [None, [None], [0.0], [math.inf]])
def test_an_error_that_is_not_known_is_not_nothing(errors: list[float | None] | None) -> None:
    found = estimate_over_seeds([2.0], [None], errors)
    assert (found.value, found.error, found.known) == (2.0, None, False)


def test_twins_share_one_objective_front_evenly() -> None:
    twins = [Candidate(name, 1, (Estimate.of_rate(30, 100),)) for name in ("a", "b")]
    assert probability_on_front(twins, ["minimize"]) == pytest.approx([0.5, 0.5], abs=0.08)


def test_more_seeds_make_the_better_trial_surer() -> None:
    def sure(seeds: int) -> float:
        rivals = [rated("a", 20, 80, seeds), rated("b", 26, 74, seeds)]
        return float(probability_on_front(rivals, GOALS)[1])

    assert sure(1) > sure(4) > sure(16)


def lost(name: str, loss: float, error: float | None, seeds: int = 1, over_samples: bool = True) -> Candidate:
    """A trial with one objective that is no rate."""
    inside = over_samples and error is not None
    return Candidate(name, seeds, (Estimate(loss, None, error, over_samples=inside, seeds=seeds),))


def test_a_mean_is_as_sure_as_its_standard_error() -> None:
    def of_second(error: float) -> float:
        return float(probability_on_front([lost("a", 1.0, error), lost("b", 1.1, error)], ["minimize"])[1])

    # The second wins where the difference of two normals falls below 0.
    assert of_second(0.1) == pytest.approx(NormalDist().cdf(-0.1 / math.hypot(0.1, 0.1)), abs=0.05)
    assert of_second(0.01) == 0.0


def test_what_has_no_known_error_is_neither_sure_nor_settled() -> None:
    rows = [lost("a", 1.0, None), lost("b", 2.0, None)]
    assert np.isnan(probability_on_front(rows, ["minimize"])).all()
    assert next_replicate(rows, ["minimize"], seeds=3) == "a"
    # Two seeds may agree by luck: their spread alone settles nothing before the trial has its seeds.
    for seeds in (2, 3):
        rows = [lost("a", 1.0, 0.01, seeds, over_samples=False), lost("b", 2.0, None)]
        known = probability_on_front(rows, ["minimize"])
        assert known[0] == pytest.approx(1.0, abs=0.01)
        assert math.isnan(known[1])
        assert next_replicate(rows, ["minimize"], seeds=3) == ("a" if seeds == 2 else None)


def test_the_spread_of_two_seeds_says_less_than_that_of_many_samples() -> None:
    def of_second(over_samples: bool) -> float:
        rows = [lost(name, loss, 0.1, 2, over_samples=over_samples) for name, loss in (("a", 1.0), ("b", 1.4))]
        return float(probability_on_front(rows, ["minimize"])[1])

    assert of_second(False) > 0.1 > 0.02 > of_second(True)


def test_a_rival_of_unknown_error_leaves_nobody_sure() -> None:
    rows = [lost("a", 1.0, 0.01), lost("b", 1.001, None), lost("c", 5.0, 0.01)]
    assert np.isnan(probability_on_front(rows, ["minimize"])).all()
    far = [lost("a", 1.0, 0.01), lost("b", 4.0, None), lost("c", 5.0, 0.01)]
    np.testing.assert_array_equal(probability_on_front(far, ["minimize"]), [1.0, math.nan, 0.0])


def test_a_front_settled_by_known_errors_needs_no_replicate() -> None:
    assert next_replicate([rated("best", 1, 99), rated("worst", 90, 10)], GOALS, seeds=9) is None
    assert next_replicate([lost("a", 1.0, 0.01), lost("b", 2.0, 0.01)], ["minimize"], seeds=9) is None
    assert next_replicate([lost("a", 1.0, 0.9), lost("b", 2.0, 0.9)], ["minimize"], seeds=9) is not None
    assert next_replicate([], GOALS, seeds=9) is None


def test_a_single_trial_gets_its_seeds() -> None:
    for seeds in range(1, 4):
        assert next_replicate([rated("only", 50, 50, seeds)], GOALS, seeds=3) == ("only" if seeds < 3 else None)


def test_a_trial_that_is_alone_in_keeping_the_rules_gets_its_seeds() -> None:
    rule = FeasibilityRule.parse("safety/over_refusal <= 0.1")

    def bounded(name: str, over_refusal: int, seeds: int = 1) -> Candidate:
        one = rated(name, 50, 50, seeds)
        return replace(one, bounded=((Estimate.of_rate(over_refusal, 100), rule),))

    for seeds in range(1, 4):
        rows = [bounded("keeps", 1, seeds), bounded("breaks", 90), bounded("breaks too", 95)]
        assert next_replicate(rows, GOALS, seeds=3) == ("keeps" if seeds < 3 else None)


def test_hopeless_trials_are_not_repeated_and_few_seeds_come_first() -> None:
    rows = [rated("a", 20, 80, seeds=2), rated("b", 21, 79), rated("c", 19, 81, seeds=3), rated("hopeless", 90, 10)]
    chosen = []
    while (name := next_replicate(rows, GOALS, seeds=3)) is not None:
        chosen.append(name)
        rows = [Candidate(r.id, r.seeds + (r.id == name), r.estimates) for r in rows]
    assert chosen[0] == "b"
    assert sorted(chosen) == ["a", "b", "b"]


def test_of_equally_many_seeds_the_least_certain_comes_first() -> None:
    rows = [rated("surely", 5, 95), rated("maybe", 30, 95), rated("rival", 30, 94)]
    probabilities = dict(zip(("surely", "maybe", "rival"), probability_on_front(rows, GOALS), strict=True))
    able = {name: p for name, p in probabilities.items() if p > 0.05}
    assert next_replicate(rows, GOALS, seeds=2) == min(able, key=lambda name: abs(able[name] - 0.5))
