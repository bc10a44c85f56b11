"""Fronts in a model's own units, against areas and bends that are known."""

import numpy as np
import pytest

from sweeps.statistics.normalised import knee, reflected_interval, share, unit_hypervolume
from sweeps.statistics.pareto import hypervolume
from sweeps.statistics.posterior import PairedDraws


def test_a_share_runs_from_its_zero_to_its_one() -> None:
    assert share([0.9, 0.1, 0.5, -0.1], 0.9, 0.1).tolist() == pytest.approx([0, 1, 0.5, 1.25])
    assert np.isnan(share(0.5, 0.3, 0.3))


@pytest.mark.parametrize(
    ("points", "area"),
    [
        ([], 0.0),
        ([(1, 1)], 1.0),
        ([(0.5, 0.5)], 0.25),
        ([(0.5, 1.0), (1.0, 0.5)], 0.75),
        ([(0.2, 0.9), (0.5, 0.5), (0.4, 0.4)], 0.2 * 0.9 + 0.3 * 0.5),
        ([(2.0, 0.5), (0.5, 7.0)], 0.5 + 0.25),
        ([(-0.3, 0.8), (0.8, -0.3), (np.nan, 1.0)], 0.0),
    ],
)
def test_known_areas(points: list[tuple[float, float]], area: float) -> None:
    assert float(unit_hypervolume(np.reshape(points, (-1, 2)))) == pytest.approx(area)


def test_it_is_the_exact_hypervolume_of_each_draw() -> None:
    draws = np.random.default_rng(0).uniform(0, 1, (50, 7, 2))
    expected = [hypervolume(draw, ["maximize", "maximize"], [0, 0]) for draw in draws]
    assert unit_hypervolume(draws).tolist() == pytest.approx(expected)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[\.\.\., n, 2\]"):
        unit_hypervolume([0.5, 0.5])


@pytest.mark.parametrize(
    ("points", "index"),
    [
        ([(0, 1), (0.7, 0.8), (1, 0)], 1),
        ([(0, 1), (0.3, 0.95), (0.8, 0.9), (0.9, 0.5), (1, 0)], 2),
        ([(0, 1), (0.5, 0.5), (1, 0)], None),  # a straight line
        ([(0, 1), (0.4, 0.4), (1, 0)], None),  # bent inwards
        ([(0, 1), (1, 0)], None),
        ([(0, 1), (0.9, 0.9), (0.6, 0.6), (1, 0)], 1),
        ([(0.5, 0.5), (0.4, 0.4), (0.3, 0.3)], None),
    ],
)
def test_the_knee_is_where_the_front_bends_most(points: list[tuple[float, float]], index: int | None) -> None:
    assert knee(points) == index


def test_the_reflected_interval_holds_its_value_and_stays_in_the_unit_interval() -> None:
    assert reflected_interval(0.5, np.linspace(0.5, 0.7, 1001)) == pytest.approx((0.305, 0.5), abs=1e-3)
    assert reflected_interval(0.99, np.linspace(0.9, 1.0, 1001))[1] <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("front", "prompts", "least"),
    [
        ([(0.15, 0.55), (0.42, 0.85), (0.43, 0.82), (0.5, 0.87), (0.65, 0.86)], 150, 0.9),
        ([(0.02 + 0.1 * i, 0.4 + 0.05 * i) for i in range(9)], 60, 0.9),
        ([(0.4, 0.8)], 100, 0.92),
        # Eight trials that do not differ: the best of eight is too good, which percentiles cover in a third of cases.
        ([(0.3, 0.8)] * 8, 150, 0.7),
    ],
)
def test_intervals_of_the_hypervolume_cover_the_truth(
    front: list[tuple[float, float]], prompts: int, least: float
) -> None:
    """(attack success, accuracy) of the front; the untouched model has .02 and .1, plain fine-tuning .9 and .88."""
    generator = np.random.default_rng(0)
    truth = np.array([(0.02, 0.1), (0.9, 0.88), *front])
    large = 0.7 * generator.random(50_000) + 0.3 * generator.random(50_000)
    cuts = np.quantile(large, truth)

    def normalised(values: np.ndarray) -> np.ndarray:
        safety = share(values[2:, 0], values[1, 0], values[0, 0])
        return np.stack([safety, share(values[2:, 1], values[0, 1], values[1, 1])], axis=-1)

    true, covered = float(unit_hypervolume(normalised(truth))), 0
    for trial in range(120):
        source, seen, drawn = PairedDraws(400, seed=trial), np.zeros(truth.shape), np.zeros((*truth.shape, 400))
        for column in (0, 1):
            hardness = 0.7 * generator.random(prompts)
            for row in range(len(truth)):
                outcomes = hardness + 0.3 * generator.random(prompts) < cuts[row, column]
                seen[row, column] = outcomes.mean()
                drawn[row, column] = source.rate(
                    [outcomes], [(column, n) for n in range(prompts)], ["s"], (row, column)
                )
        value = float(unit_hypervolume(normalised(seen)))
        low, high = reflected_interval(value, unit_hypervolume(np.moveaxis(normalised(drawn), 1, 0)))
        covered += bool(low <= true <= high)
    assert covered / 120 >= least
