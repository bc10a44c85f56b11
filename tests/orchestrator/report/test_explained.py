"""What the report says of cheap metrics and of settings, and that page and console show it."""

import io
import math
import random
from dataclasses import replace
from pathlib import Path

import optuna
import pyarrow.parquet as pq
import pytest
from detailed_samples import detailed_sweep
from front_samples import ACCURACY, ASR, OBJECTIVES, RULES, record
from scipy.stats import spearmanr

from orchestrator.commands.summary import print_fronts
from orchestrator.front.document import build_front
from orchestrator.front.importance import importance
from orchestrator.front.prediction import prediction
from orchestrator.record.trials import RungRecord, Status, TrialRecord
from orchestrator.report.explanations import prediction_section
from orchestrator.report.files import write_report
from orchestrator.terminal import Terminal
from sweeps.space.ranges import parse_ranges
from training.evaluation.scores import Scores


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory):
    records, answers = detailed_sweep()
    front = build_front(OBJECTIVES, RULES, records, answers=answers)
    return front, write_report(tmp_path_factory.mktemp("report"), "demo", front, records)


def test_prediction_is_the_rank_correlation_over_finished_trials():
    records, _ = detailed_sweep()
    trials = [one for one in records if one.kind == "trial"]
    rows = prediction(OBJECTIVES, trials)
    row = next(r for r in rows if (r.step, r.metric, r.objective) == (50, "safety/refusal_log_odds", ASR))
    finished = [t for t in trials if t.status is Status.FINISHED]
    expected = spearmanr(
        [t.rungs[1].scores.metrics["safety/refusal_log_odds"] for t in finished],
        [t.report.metrics[ASR] for t in finished],
    ).statistic
    assert row.spearman == pytest.approx(expected)
    assert row.low < row.spearman < row.high
    assert row.n == len(finished) == 19
    assert {r.step for r in rows} == {25, 50, 100}
    assert "direction/cosine/mean" in {r.metric for r in rows}


def test_trials_of_different_lengths_meet_at_the_same_share_of_their_steps():
    def at_rungs(index: int, length: int) -> TrialRecord:
        rungs = tuple(RungRecord(round(share * length), Scores({"utility/loss": float(index)})) for share in (0.4, 0.7))
        return replace(record(f"t{index}", 0.1 * index, 0.5), rungs=rungs)

    rows = prediction(OBJECTIVES, [at_rungs(index, 100 + 10 * index) for index in range(6)])
    assert [(row.step, row.n) for row in rows if row.objective == ASR] == [(50, 6), (88, 6)]


def test_prediction_says_nothing_of_three_trials_or_of_a_constant():
    def at_rung(index: int, value: float) -> TrialRecord:
        return replace(record(f"t{index}", 0.1 * index, 0.5), rungs=(RungRecord(5, Scores({"utility/loss": value})),))

    (three, _) = prediction(OBJECTIVES, [at_rung(i, float(i)) for i in range(3)])
    assert (three.spearman, three.n) == (None, 3)
    (ordered, constant) = prediction(OBJECTIVES, [at_rung(i, float(i)) for i in range(6)])
    assert ordered.spearman == pytest.approx(1.0)
    assert 0 < ordered.low < 0.9 < ordered.high < 1
    assert constant.spearman is None
    assert prediction(OBJECTIVES, [record("no rungs")]) == []


def test_a_page_without_a_correlation_says_so_in_place_of_an_empty_table():
    rungs = (RungRecord(5, Scores({"utility/loss": 0.5})),)
    few = build_front(OBJECTIVES, RULES, [replace(record(f"t{i}", 0.1 * i, 0.5), rungs=rungs) for i in range(2)])
    section = prediction_section(few, next(iter(few.models)))
    assert "both measurements number 2" in section
    assert "<table" not in section


def drawn(count: int) -> list[TrialRecord]:
    """Alpha decides safety, the learning rate accuracy, the schedule nothing."""
    rng = random.Random(3)
    found = []
    for number in range(count):
        alpha, rate = math.exp(rng.uniform(-6, 1)), rng.uniform(0.0, 1.0)
        params = {
            "constraint.alpha": alpha,
            "learning_rate": rate,
            "constraint.warmup_steps": rng.choice([20, 50, "all"]),
            "constraint.layers": f"{rng.randrange(2)}-{2 + rng.randrange(2)}",
            "steps": 150,
        }
        found.append(record(f"t{number}", 1 / (1 + alpha), rate, params=params, prompts=10_000))
    return found


def test_importance_finds_what_decides_each_objective():
    found = importance(OBJECTIVES, drawn(60))
    assert (found.n, found.reliable) == (60, True)
    assert found.targets[ASR][0].param == "constraint.alpha"
    assert found.targets[ACCURACY][0].param == "learning_rate"
    assert {row.param for row in found.targets["front"][:2]} == {"constraint.alpha", "learning_rate"}
    for rows in found.targets.values():
        assert sum(row.importance for row in rows) == pytest.approx(1)
        by_name = {row.param: row for row in rows}
        assert "steps" not in by_name
        assert {"constraint.layers.first", "constraint.layers.last"} <= set(by_name)
        assert by_name["constraint.warmup_steps"].p_value > 0.02
    assert found.targets[ASR][0].p_value < 0.02


def test_importance_takes_scales_from_the_ranges_and_few_trials_say_so():
    ranges = parse_ranges(
        {
            "constraint": {"alpha": {"type": "loguniform", "low": 0.001, "high": 5.0}},
            "learning_rate": {"type": "uniform", "low": 0.0, "high": 1.0},
        }
    )
    found = importance(OBJECTIVES, drawn(12), ranges)
    assert found.reliable is False
    assert found.targets[ASR][0].param == "constraint.alpha"
    assert importance(OBJECTIVES, drawn(5)).targets == {}
    assert importance(OBJECTIVES, []).n == 0


def test_importance_leaves_optuna_as_it_was():
    before = optuna.logging.get_verbosity()
    importance(OBJECTIVES, drawn(8))
    assert optuna.logging.get_verbosity() == before


def test_settings_that_only_some_trials_have_do_no_harm():
    trials = [t if i % 2 else replace(t, params={"constraint.alpha": 0.1 * i}) for i, t in enumerate(drawn(30))]
    assert importance(OBJECTIVES, trials).targets[ASR]


def test_the_page_explains(reported):
    front, files = reported
    page = files.front_html.read_text(encoding="utf-8")
    for heading in (
        "Worth a second look",
        "Against the references, prompt by prompt",
        "By prompt set, attack and task family",
        "Judges",
        "Which settings mattered",
        "How well did cheap metrics predict",
    ):
        assert f"{heading}</h3>" in page
    assert "held-out prompts that the search did not see (and training seeds, where a trial was repeated)" in page
    assert "unreliable" in page
    assert "3 seeds" in page
    assert all(note.sentence in page for note in front.notes)


def test_sections_without_content_are_left_out(tmp_path: Path):
    front = build_front(OBJECTIVES, RULES, [record("a", 0.1, 0.8), record("b", 0.2, 0.9)])
    page = write_report(tmp_path, "demo", front, []).front_html.read_text(encoding="utf-8")
    for heading in ("Judges", "prompt by prompt", "Which settings mattered", "cheap metrics", "second look"):
        assert heading not in page
    assert "95 % intervals over held-out prompts (Wilson)" in page


def test_the_table_of_trials_holds_both_halves_and_the_seeds(reported):
    front, files = reported
    rows = {row["id"]: row for row in pq.read_table(files.trials_parquet).to_pylist()}
    for trial in front.models["organism"].trials:
        row = rows[trial.id]
        assert row[ASR] == trial.metrics.get(ASR)
        assert row[f"select.{ASR}"] == trial.select.metrics.get(ASR)
        assert row["replicates"] == trial.replicates
        assert row["on_front"] is trial.on_front


def test_the_console_shows_judges_seeds_and_notes(reported):
    front, _ = reported
    file = io.StringIO()
    print_fronts({"demo": front}, Terminal(file=file, width=100, color_system=None))
    text = " ".join(file.getvalue().split())
    assert "Judges of organism" in text
    assert "kappa phrases, classifier" in text
    assert "(3 seeds)" in text
    assert "Worth a second look: 1 trial failed; the reason: loss became NaN" in text
