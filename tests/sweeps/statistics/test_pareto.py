import math
from itertools import pairwise, product

import numpy as np
import pytest

from sweeps.statistics.pareto import hypervolume, non_dominated


def brute_force_front(rows, goals):
    signs = [1 if goal == "minimize" else -1 for goal in goals]
    costs = [[sign * value for sign, value in zip(signs, row, strict=True)] for row in rows]

    def dominates(a, b):
        return all(x <= y for x, y in zip(a, b, strict=True)) and a != b

    measured = [not any(math.isnan(value) for value in row) for row in costs]
    return [
        ok and not any(other_ok and dominates(other, row) for other, other_ok in zip(costs, measured, strict=True))
        for row, ok in zip(costs, measured, strict=True)
    ]


def brute_force_volume(costs, corner):
    """Counts the cells of the grid that the points' own coordinates span."""
    cuts = [sorted({*(row[k] for row in costs if row[k] < corner[k]), corner[k]}) for k in range(len(corner))]
    volume = 0.0
    for cell in product(*(pairwise(axis) for axis in cuts)):
        if any(all(row[k] <= cell[k][0] for k in range(len(corner))) for row in costs):
            volume += math.prod(high - low for low, high in cell)
    return volume


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_front_equals_brute_force(objectives):
    generator = np.random.default_rng(objectives)
    for _ in range(50):
        goals = generator.choice(["minimize", "maximize"], objectives).tolist()
        values = generator.integers(0, 5, (generator.integers(1, 30), objectives)).astype(float)  # many duplicates
        values[generator.random(values.shape) < 0.05] = np.nan
        assert non_dominated(values, goals).tolist() == brute_force_front(values.tolist(), goals)


def test_front_keeps_duplicates_and_drops_unmeasured_rows():
    values = [[0.1, 0.9], [0.1, 0.9], [0.1, 0.8], [np.nan, 1.0], [0.0, np.nan]]
    assert non_dominated(values, ["minimize", "maximize"]).tolist() == [True, True, False, False, False]
    assert non_dominated([], ["minimize", "maximize"]).tolist() == []


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_hypervolume_equals_brute_force(objectives):
    generator = np.random.default_rng(10 + objectives)
    for _ in range(25):
        values = generator.integers(0, 6, (generator.integers(1, 9), objectives)) / 5
        corner = np.full(objectives, 0.9)
        expected = brute_force_volume(values.tolist(), corner.tolist())
        assert hypervolume(values, ["minimize"] * objectives, corner) == pytest.approx(expected, abs=1e-12)


def test_hypervolume_of_mixed_goals_in_closed_form():
    goals = ["minimize", "maximize"]
    values = [[0.2, 0.5], [0.6, 0.8], [0.9, 0.1], [np.nan, 1.0]]  # the third is dominated, the last unmeasured
    assert hypervolume(values, goals, [1.0, 0.0]) == pytest.approx(0.8 * 0.5 + 0.4 * 0.3)
    assert hypervolume([], goals, [1.0, 0.0]) == 0.0
    assert hypervolume([[1.0, 0.9]], goals, [1.0, 0.0]) == 0.0  # no better than the reference in one objective


def test_hypervolume_ignores_order_duplicates_and_dominated_rows():
    generator = np.random.default_rng(3)
    goals = ["minimize", "maximize", "minimize"]
    values = generator.random((20, 3))
    volume = hypervolume(values, goals, [1, 0, 1])
    front = values[non_dominated(values, goals)]
    assert hypervolume(np.concatenate([values[::-1], values]), goals, [1, 0, 1]) == pytest.approx(volume)
    assert hypervolume(front, goals, [1, 0, 1]) == pytest.approx(volume)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="do not fit 2 objectives"):
        non_dominated([[1.0, 2.0, 3.0]], ["minimize", "minimize"])
    with pytest.raises(ValueError, match="one finite value"):
        hypervolume([[0.1, 0.2]], ["minimize", "minimize"], [1.0, np.inf])
    with pytest.raises(ValueError, match="one finite value"):
        hypervolume([[0.1, 0.2]], ["minimize", "minimize"], [1.0])
