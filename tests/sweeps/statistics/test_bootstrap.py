import numpy as np
import pytest
from scipy.stats import bootstrap

from sweeps.statistics.bootstrap import two_way_interval
from sweeps.statistics.intervals import wilson_interval


def test_two_way_interval_equals_scipy_where_seeds_alone_differ():
    by_seed = (np.random.default_rng(0).random(60) < 0.3).astype(float)
    expected = bootstrap((by_seed,), np.mean, method="percentile", n_resamples=20_000, random_state=1)
    found = two_way_interval(np.tile(by_seed[:, None], (1, 5000)), draws=20_000)
    assert found.mean == pytest.approx(by_seed.mean())
    width = found.high - found.low
    assert found.low == pytest.approx(expected.confidence_interval.low, abs=0.03 * width)
    assert found.high == pytest.approx(expected.confidence_interval.high, abs=0.03 * width)


def test_two_way_interval_covers_seed_and_prompt_effects():
    """Outcomes whose rate varies with the seed and with the prompt: treating them all as independent falls short."""
    generator = np.random.default_rng(7)
    covered, naive = [], []
    for trial in range(300):
        rate = 0.5 + 0.2 * generator.uniform(-1, 1, (8, 1)) + 0.25 * generator.uniform(-1, 1, (1, 60))
        outcomes = (generator.random((8, 60)) < rate).astype(int)
        found = two_way_interval(outcomes, draws=400, seed=trial)
        covered.append(found.low <= 0.5 <= found.high)
        low, high = wilson_interval(int(outcomes.sum()), outcomes.size)
        naive.append(low <= 0.5 <= high)
    assert np.mean(covered) >= 0.93
    assert np.mean(naive) < 0.8


@pytest.mark.parametrize("rate", [0.0, 0.03, 0.4, 1.0])
@pytest.mark.parametrize("seeds", [1, 3, 6])
def test_two_way_interval_is_never_narrower_than_wilson_at_the_distinct_prompts(rate, seeds):
    one = (np.arange(100) < round(100 * rate)).astype(int)
    found = two_way_interval(np.tile(one, (seeds, 1)))  # the same answer under every seed
    low, high = wilson_interval(int(one.sum()), 100)
    assert found.low <= low
    assert high <= found.high
    assert 0 <= found.low <= found.mean <= found.high <= 1


def test_seeds_that_differ_widen_the_two_way_interval():
    prompts = np.arange(200) < 100
    alike = two_way_interval(np.tile(prompts, (4, 1)))
    apart = two_way_interval(np.stack([np.ones(200), np.ones(200), np.zeros(200), np.zeros(200)]))
    assert apart.mean == alike.mean == 0.5
    assert apart.high - apart.low > 3 * (alike.high - alike.low)


def test_blocks_do_not_change_the_shape_of_the_distribution():
    outcomes = np.random.default_rng(2).random((1, 30_000)) < 0.5  # more than one block
    found = two_way_interval(outcomes.astype(int), draws=300)
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(30_000), rel=0.2)


def test_impossible_input_is_refused():
    with pytest.raises(ValueError, match=r"\[seeds, prompts\] of 0 and 1"):
        two_way_interval([0, 1, 1])
    with pytest.raises(ValueError, match=r"\[seeds, prompts\] of 0 and 1"):
        two_way_interval([[0.5, 1.0]])
    with pytest.raises(ValueError, match="confidence"):
        two_way_interval([[0, 1]], confidence=95)
    with pytest.raises(ValueError, match="draws"):
        two_way_interval([[0, 1]], draws=0)
