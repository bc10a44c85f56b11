"""The paired Bayesian bootstrap against known truths."""

import numpy as np
import pytest
from scipy.stats import beta

from sweeps.statistics.posterior import PairedDraws


@pytest.mark.parametrize(("successes", "total"), [(0, 20), (3, 20), (20, 20), (60, 150)])
def test_one_model_has_the_jeffreys_posterior(successes: int, total: int) -> None:
    outcomes = [[1] * successes + [0] * (total - successes)]
    draws = PairedDraws(20_000).rate(outcomes, range(total), ["seed"], "model")
    for share in (0.025, 0.25, 0.5, 0.75, 0.975):
        expected = beta.ppf(share, successes + 0.5, total - successes + 0.5)
        assert np.quantile(draws, share) == pytest.approx(expected, abs=0.006)


def test_two_models_that_answer_alike_hardly_differ_and_unrelated_ones_do() -> None:
    generator = np.random.default_rng(0)
    first = generator.random(200) < 0.5
    same, other = first.copy(), generator.permutation(first)
    same[0] = not same[0]
    source = PairedDraws()
    one, alike, unrelated = (
        source.rate([table], range(200), ["s"], name) for name, table in enumerate((first, same, other))
    )
    # Apart from one prompt they differ by the two half prompts of each alone: sqrt(1 + 2 * 2 * 0.25) / 200 about.
    assert np.std(one - alike) < 0.009
    assert np.std(one - unrelated) == pytest.approx(np.sqrt(2 * 0.25 / 200), rel=0.15)


def test_what_is_drawn_of_a_model_does_not_depend_on_who_was_drawn_before() -> None:
    table, prompts = [[0, 1, 1, 0, 1]], list("abcde")
    alone = PairedDraws(50).rate(table, prompts, ["s"], "x")
    later = PairedDraws(50)
    later.rate([[1, 1, 0]], list("axy"), ["s"], "y")
    assert np.array_equal(alone, later.rate(table, prompts, ["s"], "x"))
    assert not np.array_equal(alone, PairedDraws(50, seed=1).rate(table, prompts, ["s"], "x"))


def test_seeds_that_disagree_widen_it_as_the_bootstrap_over_seeds_does() -> None:
    prompts = range(1000)
    table = np.zeros((3, 1000))
    for row, rate in enumerate((0.2, 0.5, 0.8)):
        table[row, : int(1000 * rate)] = 1
    draws = PairedDraws(8000).rate(table, prompts, range(3), "x")
    # The variance over seeds of the classical bootstrap is sum of squares / seeds^2; prompts add next to nothing.
    assert np.std(draws) == pytest.approx(np.sqrt(0.18 / 9), rel=0.05)


@pytest.mark.slow
def test_differences_of_paired_rates_are_covered() -> None:
    """Of 95 % intervals of 300 simulated pairs about 95 % hold the truth, also with rare events."""
    generator = np.random.default_rng(1)
    for harder, easier, prompts in ((0.5, 0.1, 100), (0.06, 0.0, 75), (0.9, 0.7, 40)):
        covered = 0
        for trial in range(300):
            level = 0.7 * generator.random(prompts) + 0.3 * generator.random((2, prompts))
            # Which thresholds give these rates: by a large sample of the same law.
            large = 0.7 * generator.random(20_000) + 0.3 * generator.random(20_000)
            cuts = np.quantile(large, [harder, easier])
            outcomes = level < cuts[:, None]
            source = PairedDraws(600, seed=trial)
            one, two = (source.rate([row], range(prompts), ["s"], name) for name, row in enumerate(outcomes))
            low, high = np.percentile(one - two, [2.5, 97.5])
            covered += bool(low <= harder - easier <= high)
        assert 0.91 <= covered / 300 <= 0.995, (harder, easier, covered)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="a row a seed"):
        PairedDraws().rate([[0, 1]], ["a"], ["s"], "x")
    with pytest.raises(ValueError, match="0 and 1"):
        PairedDraws().rate([[0, 2]], ["a", "b"], ["s"], "x")
