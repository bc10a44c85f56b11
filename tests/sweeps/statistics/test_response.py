"""The surface between trials: known functions are found again, and where nothing was tried nothing is known."""

import numpy as np
import pytest

from sweeps.statistics.response import FEWEST, response_surface

CHANCE = np.random.default_rng(0)


def truth(places: np.ndarray) -> np.ndarray:
    return np.asarray(0.3 + 0.2 * np.sin(3 * places[:, 0]) - 0.1 * places[:, 1])


def test_a_smooth_function_is_found_between_the_trials() -> None:
    tried, asked = CHANCE.random((40, 2)), CHANCE.random((100, 2))
    found = response_surface(tried, truth(tried) + CHANCE.normal(0, 0.005, 40), asked)
    error = np.abs(found.mean - truth(asked))
    assert error.max() < 0.04
    assert np.mean(error <= 3 * found.deviation + 0.005) > 0.95


def test_far_from_every_trial_it_knows_little() -> None:
    tried = CHANCE.random((30, 2)) * 0.3
    found = response_surface(tried, truth(tried), np.array([[0.15, 0.15], [1.0, 1.0]]))
    assert found.deviation[1] > 5 * found.deviation[0]
    assert found.deviation[1] <= found.spread


def test_values_that_are_luck_alone_make_no_hills() -> None:
    tried, asked = CHANCE.random((30, 2)), CHANCE.random((50, 2))
    values = CHANCE.normal(0.5, 0.05, 30)
    assert np.ptp(response_surface(tried, values, asked).mean) < 0.1


def test_values_that_are_all_the_same_stay_so() -> None:
    tried = CHANCE.random((FEWEST, 2))
    found = response_surface(tried, np.full(FEWEST, 0.4), tried)
    assert found.mean == pytest.approx(np.full(FEWEST, 0.4))


def test_too_few_trials_and_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        response_surface(np.zeros((FEWEST - 1, 2)), np.zeros(FEWEST - 1), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="do not match"):
        response_surface(np.zeros((9, 2)), np.zeros(9), np.zeros((1, 3)))
