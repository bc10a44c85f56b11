"""What is said of a front's membership is right, all of it together."""

import numpy as np
import pytest

from sweeps.statistics.membership import memberships
from sweeps.statistics.pareto import non_dominated

GOALS = ("minimize", "maximize")


def around(values: list[tuple[float, float]], error: float, shared: float = 0.0, count: int = 2000) -> np.ndarray:
    """Normal draws about ``values``, of whose error ``shared`` is common to all."""
    generator = np.random.default_rng(0)
    table = np.array(values)
    own = generator.normal(0, error, (count, *table.shape))
    common = generator.normal(0, shared, (count, 1, table.shape[1]))
    return table + own + common


def test_what_is_far_apart_is_told() -> None:
    draws = around([(0.1, 0.5), (0.4, 0.9), (0.6, 0.3)], 0.01)
    assert memberships(draws, GOALS) == ["on", "on", "off"]


def test_two_that_are_alike_cannot_be_told_apart_and_the_rest_can() -> None:
    draws = around([(0.1, 0.50), (0.1, 0.501), (0.6, 0.9)], 0.02)
    assert memberships(draws, GOALS) == ["open", "open", "on"]


def test_luck_that_all_share_makes_nothing_doubtful() -> None:
    values = [(0.2, 0.5), (0.25, 0.45)]
    assert memberships(around(values, 0.1), GOALS) == ["open", "open"]
    assert memberships(around(values, 0.001, shared=0.1), GOALS) == ["on", "off"]


def test_a_draw_that_breaks_a_rule_is_off_the_front() -> None:
    draws = around([(0.1, 0.5), (0.4, 0.9)], 0.01)
    draws[:, 1] = np.nan
    assert memberships(draws, GOALS) == ["on", "off"]
    draws[::2, 0] = np.nan
    assert memberships(draws, GOALS) == ["open", "off"]


def test_many_statements_are_harder_than_one() -> None:
    """Each of twenty pairs is told with 99 %, all of them together are not."""
    pairs = [(0.1 + 0.04 * at, 0.1 + 0.04 * at) for at in range(20)]
    values = [value for x, y in pairs for value in ((x, y), (x + 0.0165, y - 0.0165))]
    found = memberships(around(values, 0.005), GOALS)
    one = memberships(around(values[:2], 0.005), GOALS)
    assert one == ["on", "off"]
    assert "open" in found
    assert found.count("open") < len(found)


def test_no_trials_and_no_draws() -> None:
    assert memberships(np.zeros((5, 0, 2)), GOALS) == []
    with pytest.raises(ValueError, match="at least one draw"):
        memberships(np.zeros((0, 3, 2)), GOALS)


@pytest.mark.slow
@pytest.mark.parametrize("error", [0.005, 0.02, 0.05])
def test_all_that_is_said_is_right_in_at_least_93_of_100(error: float) -> None:
    """1,000 sweeps whose measurements are the truth and luck, of which each trial has its own."""
    generator = np.random.default_rng(1)
    right = 0
    for _ in range(1000):
        truth = generator.uniform(0, 1, (8, 2))
        truth = np.vstack([truth, truth[:4] + generator.normal(0, 0.02, (4, 2))])
        seen = truth + generator.normal(0, error, truth.shape)
        said = memberships(seen + generator.normal(0, error, (400, *truth.shape)), GOALS)
        member = non_dominated(truth, GOALS)
        right += all(one == "open" or (one == "on") == bool(on) for one, on in zip(said, member, strict=True))
    assert right >= 930
