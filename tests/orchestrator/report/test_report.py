"""The files of a report and the console tables."""

import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from front_samples import ASR, OBJECTIVES, RULES, halves, record, references, sweep

from orchestrator.front.document import build_front
from orchestrator.record.atomic import write_with
from orchestrator.record.trials import Status, TrialRecord
from orchestrator.report.console import render_table
from orchestrator.report.files import write_report
from orchestrator.terminal import Terminal
from sweeps.goals.objectives import FeasibilityRule


def console_text(records: list[TrialRecord], rules: list[FeasibilityRule] | None = None, width: int = 80) -> str:
    console = Terminal(file=io.StringIO(), width=width, color_system=None)
    for table in render_table(build_front(OBJECTIVES, RULES if rules is None else rules, records)):
        console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_report_is_these_files(tmp_path: Path) -> None:
    records = sweep(24)
    front = build_front(OBJECTIVES, RULES, records)
    files = write_report(tmp_path / "out", "demo", front, records)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "course.png",
        "front.html",
        "front.json",
        "front.png",
        "trials.parquet",
    ]
    assert json.loads(files.front_json.read_text()) == front.as_json()
    assert files.front_png.read_bytes().startswith(b"\x89PNG")


def test_parquet_has_one_row_per_searched_trial_with_bounds(tmp_path: Path) -> None:
    records = sweep(24)
    files = write_report(tmp_path, "demo", build_front(OBJECTIVES, RULES, records), records)
    rows = pq.read_table(files.trials_parquet).to_pylist()
    trials = [r for r in records if r.kind == "trial"]
    assert [(row["id"], row["status"]) for row in rows] == [(t.id, str(t.status)) for t in trials]
    finished = rows[0]
    assert finished["params.constraint.alpha"] == trials[0].params["constraint.alpha"]
    assert finished[f"{ASR}_low"] < finished[ASR] < finished[f"{ASR}_high"]
    assert finished["utility/loss"] == trials[0].report.metrics["utility/loss"]
    assert "utility/loss_low" not in finished
    pruned = next(row for row in rows if row["status"] == "PRUNED")
    assert pruned[ASR] is None
    # 20, 50 and "all" share a column, and so do an index, a list and a share of depth.
    assert {row["params.constraint.warmup_steps"] for row in rows} <= {"20", "50", "all"}
    assert {row["params.constraint.layers"] for row in rows} == {"1", "[0, 3]", "10%-50%"}


@pytest.mark.parametrize(
    "records", [[], references(), [record("a", status=Status.RUNNING)]], ids=["none", "refs", "run"]
)
def test_a_sweep_without_results_still_gets_a_report(tmp_path: Path, records: list[TrialRecord]) -> None:
    files = write_report(tmp_path, "demo", build_front(OBJECTIVES, RULES, records), records)
    assert pq.read_table(files.trials_parquet).num_rows == sum(r.kind == "trial" for r in records)
    assert "<h1>" in files.front_html.read_text()


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "front.json"
    target.write_text("old")

    def fail(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        write_with(target, fail)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_console_shows_references_then_the_front_then_counts() -> None:
    records = sweep(24)
    text = console_text(records)
    lines = text.splitlines()
    assert all(len(line) <= 80 for line in lines)
    order = [
        next(i for i, line in enumerate(lines) if name in line) for name in ("│ base", "│ plain IFT", "│ IFT+safety")
    ]
    assert order == sorted(order)
    front = build_front(OBJECTIVES, RULES, records).models["organism"]
    best_first = sorted(front.members, key=lambda t: t.metrics[ASR] or 0.0)
    rows = [next(i for i, line in enumerate(lines) if f"│ {t.id[-3:]} " in line) for t in best_first]
    assert rows == sorted(rows)
    assert rows[0] > order[-1]
    assert "0.66 [.59, .72]" in text
    counts = " ".join(text.split())
    assert "1 failed, 2 pruned" in counts
    assert "dominated" in counts


def test_the_console_says_by_what_the_front_was_chosen_and_marks_who_was_not_borne_out() -> None:
    records = [
        halves("a", (0.1, 0.8), (0.3, 0.7)),
        halves("b", (0.2, 0.9), (0.2, 0.8)),
        halves("c", (0.9, 0.1), (0, 1)),
    ]
    text = console_text([*references(), *records])
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "│ a * " in text
    assert "│ b " in text
    assert "│ c" not in text
    assert "0.30 [.22, .40]" in text
    said = " ".join(text.split())
    assert "Chosen on the select prompts, measured on the report prompts." in said
    assert "* On these, another member beats it or it breaks a rule." in said
    assert "1 dominated" in said
    whole = " ".join(console_text([record("a")]).split())
    assert "Chosen and measured on the same prompts, which flatters what was chosen." in whole


def test_the_table_of_trials_tells_what_each_half_says(tmp_path: Path) -> None:
    records = [
        halves("a", (0.1, 0.8), (0.3, 0.7)),
        halves("b", (0.2, 0.9), (0.2, 0.8)),
        record("c", status=Status.FAILED),
    ]
    files = write_report(tmp_path, "demo", build_front(OBJECTIVES, RULES, records), records)
    names = ("on_front", "feasible", "on_report.feasible", "on_report.behind", f"select.{ASR}", ASR)
    rows = [tuple(row[name] for name in names) for row in pq.read_table(files.trials_parquet).to_pylist()]
    assert rows == [
        (True, True, True, "b", 0.1, 0.3),
        (True, True, True, "", 0.2, 0.2),
        (False, None, None, "", None, None),
    ]


def test_the_console_says_why_a_front_is_empty_and_compares_models() -> None:
    text = " ".join(console_text(sweep(6), [FeasibilityRule.parse("safety/over_refusal < 0.0")]).split())
    assert "None of the 5 measured models keeps safety/over_refusal < 0" in text
    both = console_text([*sweep(6), *sweep(6, "small")])
    assert both.count("Pareto front of") == 2
    assert "The models compared" in both
