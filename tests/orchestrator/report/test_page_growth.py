"""How the front grew, on the page: the last point is the hypervolume that the front has."""

from dataclasses import replace
from pathlib import Path

import pytest
from front_samples import OBJECTIVES, RULES, record, sweep

from orchestrator.front.document import build_front
from orchestrator.record.trials import TrialRecord, at_scale
from orchestrator.report.page_data import page_data
from orchestrator.report.plots.data import plot_data
from training.evaluation.scores import Scores


def growth(records: list[TrialRecord]) -> tuple[list[list[float]], float]:
    front = build_front(OBJECTIVES, RULES, records)
    (model,) = page_data(plot_data("s", front), front, Path("runs/s"), records=records)["models"]
    figures = [figure for figure in model["figures"] if figure["host"] == "volume-0"]
    return (figures[0]["lines"][0]["points"] if figures else []), front.models["organism"].hypervolume


def in_time(records: list[TrialRecord]) -> list[TrialRecord]:
    return [replace(one, finished=1000.0 + number) for number, one in enumerate(records)]


def test_it_never_falls_and_ends_at_the_front() -> None:
    points, hypervolume = growth(in_time(sweep(12)))
    assert [number for number, _ in points] == list(range(1, len(points) + 1))
    volumes = [volume for _, volume in points]
    assert volumes == sorted(volumes), "these prompts are not split, so that what is chosen is what is shown"
    assert volumes[-1] == pytest.approx(hypervolume, abs=1e-3)


def test_scaled_models_come_with_their_training() -> None:
    first, second = in_time([record("a", 0.4, 0.8), record("b", 0.9, 0.1)])
    there = record("there", 0.1, 0.7)
    points, hypervolume = growth([first, at_scale(first, 0.5, Scores(), there.report, there.select, 30), second])
    assert [round(volume, 3) for _, volume in points] == [round(hypervolume, 3)] * 2


def test_one_trial_is_no_growth() -> None:
    assert growth(in_time([record("a", 0.4, 0.8)]))[0] == []
