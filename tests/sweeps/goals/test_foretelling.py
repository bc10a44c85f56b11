"""What is foretold of a model is what a monotone curve through the measured ones says."""

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.goals.foretelling import LEAST, Foretelling, Known


def rows(*pairs: tuple[float, float]) -> list[Known]:
    return [Known((x,), (y,)) for x, y in pairs]


LINE = rows((0, 0.0), (1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4))


def test_between_measured_models_it_is_between_them_and_beyond_them_no_further() -> None:
    curve = Foretelling(LINE, [True])
    assert [curve.of([x])[0] for x in (0, 0.5, 4, 9, -3)] == pytest.approx([0, 0.05, 0.4, 0.4, 0.0])


def test_noise_is_levelled() -> None:
    """Two that are out of order count as their mean (pool adjacent violators)."""
    curve = Foretelling(rows((0, 0.0), (1, 0.4), (2, 0.2), (3, 0.6), (4, 0.8)), [True])
    assert [curve.of([x])[0] for x in (1, 2)] == pytest.approx([0.3, 0.3])


def test_what_falls_falls() -> None:
    curve = Foretelling(rows((0, 1.0), (1, 0.7), (2, 0.8), (3, 0.1), (4, 0.0)), [False])
    assert curve.of([1.5])[0] == pytest.approx(0.75)


def test_models_that_look_the_same_count_as_their_mean() -> None:
    curve = Foretelling(rows((0, 0.0), (1, 0.2), (1, 0.4), (2, 0.5), (3, 0.5)), [True])
    assert curve.of([1.0])[0] == pytest.approx(0.3)


def test_every_objective_has_its_own_curve() -> None:
    known = [Known((x, -x), (x / 10, x / 5)) for x in range(6)]
    assert Foretelling(known, [True, False]).of([2.5, -2.5]) == pytest.approx((0.25, 0.5))


def test_few_models_and_no_numbers_foretell_nothing() -> None:
    assert not Foretelling(LINE[: LEAST - 1], [True]).able
    assert not Foretelling([*LINE[: LEAST - 1], Known((math.nan,), (0.0,))], [True]).able
    assert Foretelling(LINE, [True]).able
    assert math.isnan(Foretelling(LINE, [True]).of([math.nan])[0])
    assert math.isnan(Foretelling([], [True]).of([1.0])[0])


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(0, 1)), min_size=1, max_size=40))
def test_it_never_turns_and_never_leaves_what_was_measured(pairs: list[tuple[float, float]]) -> None:
    curve = Foretelling(rows(*pairs), [True])
    found = [curve.of([x])[0] for x in sorted(random.Random(0).uniform(-60, 60) for _ in range(20))]
    assert all(one <= other + 1e-12 for one, other in itertools.pairwise(found))
    assert min(y for _, y in pairs) - 1e-9 <= found[0] <= found[-1] <= max(y for _, y in pairs) + 1e-9
