import numpy as np
import pytest

from sweeps.statistics.pareto import _front_by_pairs, crowding, non_dominated, probability_on_front, ranks


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf, 0.0])
def test_sorting_equals_comparing_all_pairs(special):
    generator = np.random.default_rng(1)
    for _ in range(300):
        values = generator.integers(0, 5, (generator.integers(1, 25), 2)).astype(float)  # many duplicates
        values[generator.random(values.shape) < 0.15] = special
        assert non_dominated(values, ["minimize", "minimize"]).tolist() == _front_by_pairs(values).tolist()


def test_blocks_equal_one_block():
    values = np.random.default_rng(2).random((700, 3))
    at_once = np.all(values[:, None] <= values[None], axis=2) & np.any(values[:, None] < values[None], axis=2)
    assert non_dominated(values, ["minimize"] * 3).tolist() == (~at_once.any(axis=0)).tolist()


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_ranks_equal_the_longest_chain_of_dominance(objectives):
    generator = np.random.default_rng(objectives)
    for _ in range(30):
        values = generator.integers(0, 6, (20, objectives)).astype(float)

        longest: dict[int, int] = {}
        for index in np.argsort(values.sum(axis=1), kind="stable"):  # whoever dominates a row comes before it
            row = values[index]
            above = [length for i, length in longest.items() if (values[i] <= row).all() and (values[i] < row).any()]
            longest[int(index)] = 1 + max(above, default=-1)
        assert ranks(values, ["minimize"] * objectives).tolist() == [longest[i] for i in range(len(values))]


def test_ranks_follow_goals_and_put_unmeasured_rows_last():
    values = [[0.1, 0.9], [0.2, 0.8], [np.nan, 1.0], [0.1, 0.9], [0.3, 0.95]]
    assert ranks(values, ["minimize", "maximize"]).tolist() == [0, 1, 2, 0, 0]
    assert ranks([], ["minimize"]).tolist() == []


def test_crowding_by_hand():
    values = [[0.0, 4.0], [1.0, 2.0], [2.0, 1.0], [4.0, 0.0], [5.0, 5.0], [1.0, 2.0], [np.nan, 0.0]]
    expected = [np.inf, 2 / 4 + 3 / 4, 3 / 4 + 2 / 4, np.inf, np.inf, 1.25, 0.0]  # the sixth equals the second
    assert crowding(values, ["minimize", "minimize"]).tolist() == pytest.approx(expected)


def test_crowding_does_not_depend_on_order_or_goals():
    generator = np.random.default_rng(4)
    values = generator.integers(0, 5, (30, 3)).astype(float)
    order = generator.permutation(30)
    goals = ["minimize", "maximize", "minimize"]
    found = crowding(values, goals)
    assert crowding(values[order], goals).tolist() == found[order].tolist()
    assert crowding(values * [1, -1, 1], ["minimize"] * 3).tolist() == pytest.approx(found.tolist())


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_probability_equals_the_front_of_every_draw(objectives):
    generator = np.random.default_rng(objectives)
    goals = ["maximize", "minimize", "maximize"][:objectives]
    draws = generator.integers(0, 4, (40, 12, objectives)).astype(float)
    draws[generator.random(draws.shape) < 0.05] = np.nan
    expected = np.mean([non_dominated(draw, goals) for draw in draws], axis=0)
    assert probability_on_front(draws, goals).tolist() == pytest.approx(expected.tolist())


def test_probability_in_closed_form():
    """Of three trials with one exchangeable objective each is best in a third of the draws."""
    draws = np.random.default_rng(0).random((30_000, 3, 1))
    assert probability_on_front(draws, ["minimize"]) == pytest.approx([1 / 3] * 3, abs=0.01)
    assert probability_on_front(np.zeros((5, 0, 2)), ["minimize", "minimize"]).tolist() == []
    with pytest.raises(ValueError, match=r"\[draws, n, 2\]"):
        probability_on_front(np.zeros((3, 2)), ["minimize", "minimize"])
