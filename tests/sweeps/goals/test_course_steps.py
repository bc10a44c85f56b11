"""When a reference is measured on its way."""

import pytest

from sweeps.goals.course import course_steps
from sweeps.goals.pruning import PruningConfig


@pytest.mark.parametrize(
    ("total", "rungs", "steps"),
    [
        (100, None, (5, 10, 20, 40, 70)),
        (100, [0.1, 0.5], (5, 10, 20, 40, 50, 70)),
        (12, [0.25], (1, 2, 3, 5, 8)),
        (2, None, (1,)),
        (1, None, ()),
    ],
)
def test_it_is_measured_early_and_often_and_where_trials_are_judged(
    total: int, rungs: list[float] | None, steps: tuple[int, ...]
) -> None:
    assert course_steps(total, PruningConfig(rungs=rungs) if rungs else None) == steps
