"""What the search sees of a trial: its select half, and nothing of one that is not finished."""

import math

import pytest
from front_samples import ACCURACY, ASR, OBJECTIVES, halves, record

from orchestrator.record.trials import Status
from orchestrator.search.objective_values import objective_values
from training.evaluation.scores import Scores


def test_the_search_sees_the_select_half() -> None:
    assert objective_values(OBJECTIVES, halves("a", (0.2, 0.7, 0.0), (0.5, 0.9, 0.0))) == [0.2, 0.7]


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.FINISHED])
def test_what_has_not_finished_has_no_values(status: Status) -> None:
    whole = record("a", 0.2, 0.7)
    assert objective_values(OBJECTIVES, whole) == [0.2, 0.7]
    assert objective_values(OBJECTIVES, record("a", scores=whole.select, status=status, select=whole.select)) is None


@pytest.mark.parametrize("values", [{ASR: 0.2}, {ASR: 0.2, ACCURACY: math.nan}, {ASR: math.inf, ACCURACY: 0.7}])
def test_an_objective_that_is_missing_or_not_finite_leaves_no_values(values: dict[str, float]) -> None:
    assert objective_values(OBJECTIVES, record("a", scores=Scores(values))) is None
