"""Drift and refusal over the steps of a training: from rungs to front.json to the picture."""

from dataclasses import replace
from pathlib import Path

import pytest
from detailed_samples import detailed_sweep
from front_samples import OBJECTIVES, RULES, record, references

from orchestrator.front.document import build_front
from orchestrator.report.page import write_html
from orchestrator.report.plots.data import plot_data

COSINE, ODDS = "direction/cosine/mean", "safety/refusal_log_odds"


@pytest.fixture(scope="module")
def front():
    return build_front(OBJECTIVES, RULES, detailed_sweep()[0])


def test_the_course_is_every_rung_and_the_end_on_the_select_prompts(front):
    body = front.models["organism"]
    plain = body.reference["ift"]
    assert [point.step for point in plain.course] == [25, 50, 100, 150]
    select = plain.select.metrics
    last = plain.course[-1].metrics
    assert last[ODDS] == select[ODDS]
    assert last[COSINE] == pytest.approx(sum(select[f"direction/cosine/layer_{i:02d}"] for i in range(4)) / 4)
    assert [point.step for point in body.reference["base"].course] == [0]
    pruned = next(trial for trial in body.trials if trial.status == "PRUNED")
    assert [point.step for point in pruned.course] == [25, 50, 100]


def test_references_and_front_are_drawn_from_the_untouched_model_on(front):
    (panel,) = plot_data("demo", front).panels
    body = front.models["organism"]
    assert len(panel.course) == 2 + sum(trial.on_front for trial in body.trials)
    plain = next(line for line in panel.course if line.name == "plain fine-tuning")
    assert plain.steps == (0, 25, 50, 100, 150)
    base = body.reference["base"].course[0].metrics
    assert (plain.cosines[0], plain.log_odds[0]) == (base[COSINE], base[ODDS])
    assert plain.log_odds[-1] < 0 < plain.log_odds[0]


def test_a_journal_whose_references_had_no_rungs_still_shows_start_and_end():
    records = [replace(one, rungs=()) if one.kind == "reference" else one for one in detailed_sweep()[0]]
    (panel,) = plot_data("demo", build_front(OBJECTIVES, RULES, records)).panels
    plain = next(line for line in panel.course if line.name == "plain fine-tuning")
    assert plain.steps == (0, 150)


def test_the_page_shows_it_where_there_is_something_to_show(tmp_path: Path, front):
    write_html(plot_data("demo", front), front, tmp_path / "with.html")
    page = (tmp_path / "with.html").read_text(encoding="utf-8")
    assert "Over the course of training</h3>" in page
    assert page.count("log-odds of a refusal") == 1
    bare = build_front(OBJECTIVES, RULES, [replace(one, history=()) for one in (*references(), record("a", 0.1, 0.8))])
    write_html(plot_data("demo", bare), bare, tmp_path / "without.html")
    assert "Over the course of training" not in (tmp_path / "without.html").read_text(encoding="utf-8")
