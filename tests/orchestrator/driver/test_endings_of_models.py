"""How one model's part of a sweep ended, as its MLflow run shows it."""

from typing import Literal

import pytest
from front_samples import record, references

from orchestrator.driver.mirror import ending
from orchestrator.record.trials import Status


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], "FAILED"),
        ([Status.FAILED, Status.FAILED], "FAILED"),
        ([Status.PRUNED], "FAILED"),
        ([Status.FAILED, Status.FINISHED], "FINISHED"),
    ],
)
def test_only_a_searched_trial_that_came_to_a_result_is_an_end(
    statuses: list[Status], expected: Literal["FAILED", "FINISHED"]
) -> None:
    found = [record(f"organism-{number}", status=status) for number, status in enumerate(statuses)]
    assert ending([*references(), *found]) == expected
