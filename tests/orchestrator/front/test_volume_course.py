"""The front trial by trial is at each trial the front of the document."""

import pytest
from front_samples import OBJECTIVES, RULES, halves, record, sweep

from orchestrator.front.document import build_front
from orchestrator.front.volume_course import VolumeCourse
from orchestrator.record.trials import Status


def test_after_each_trial_it_is_the_front_of_those_that_ended() -> None:
    split = [halves(f"organism-h{n}", (0.4 - n / 20, 0.5 + n / 30, 0.1), (0.5, 0.4 + n / 20, 0.14)) for n in range(4)]
    told = [*sweep(30), *split, halves("organism-rule", (0.0, 1.0, 0.1), (0.0, 1.0, 0.3))]
    course = VolumeCourse(OBJECTIVES, RULES)
    ended = 0
    for number, trial in enumerate(told, start=1):
        point = course.take(trial)
        if trial.kind != "trial":
            assert point is None
            continue
        ended += 1
        assert point is not None
        body = build_front(OBJECTIVES, RULES, told[:number]).models["organism"]
        assert (point.ended, point.size) == (ended, len(body.front))
        assert point.hypervolume == pytest.approx(body.hypervolume)
    assert ended == 35


def test_a_trial_that_will_run_again_or_was_told_before_is_no_step() -> None:
    course = VolumeCourse(OBJECTIVES, RULES)
    assert course.take(record("a", status=Status.STOPPED)) is None
    first = course.take(record("a", 0.2, 0.8))
    assert first is not None
    assert first.ended == 1
    assert course.take(record("a", 0.1, 0.9)) is None
    failed = course.take(record("b", status=Status.FAILED))
    assert failed is not None
    assert failed == (2, first.hypervolume, 1)
