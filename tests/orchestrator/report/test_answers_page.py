"""Answers beside the front: which are shown, and that harmful ones wait for a click."""

import re
from pathlib import Path

import pytest
from detailed_samples import detailed_sweep
from front_samples import OBJECTIVES, RULES
from written_sweeps import demo_spec, write_sweep

from orchestrator.front.document import build_front
from orchestrator.report.answers_page import write_answers_html
from orchestrator.report.files import write_report
from orchestrator.report.page import write_html
from orchestrator.report.plots.data import plot_data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    records, answers = detailed_sweep(6, replicated=0)
    for rows in answers.values():
        for row in rows:
            row["answer"] = f"<script>alert(1)</script> {row['answer']}"
    folder = write_sweep(tmp_path_factory.mktemp("answered"), demo_spec(), records, answers)
    write_report(folder, "demo", build_front(OBJECTIVES, RULES, records, answers=answers), records)
    return folder


def test_ten_answers_of_each_and_harmful_ones_closed(folder: Path) -> None:
    page = (folder / "answers.html").read_text(encoding="utf-8")
    front = build_front(OBJECTIVES, RULES, detailed_sweep(6, replicated=0)[0])
    for shown in (*front.models["organism"].front, "organism-base", "organism-ift"):
        section = re.search(rf'<h2 id="{shown}">.*?(?=<h2|</body>)', page)
        assert section is not None, shown
        assert section[0].count('class="asked"') == 10
        assert section[0].count("<details>") == 6
        assert "<details open" not in section[0]
    assert "<script" not in page
    assert "script-src 'none'" in page
    assert "&lt;script&gt;alert" in page


def test_the_page_of_the_front_names_it_and_holds_no_answer(folder: Path) -> None:
    page = (folder / "front.html").read_text(encoding="utf-8")
    assert '"answers":"answers.html"' in page
    assert "Certainly:" not in page, "what goes to MLflow holds no text"


def test_without_texts_there_is_none(tmp_path: Path) -> None:
    records, answers = detailed_sweep(4, replicated=0)
    bare = {
        trial: [{name: value for name, value in row.items() if name not in ("prompt", "answer")} for row in rows]
        for trial, rows in answers.items()
    }
    write_sweep(tmp_path, demo_spec(), records, bare)
    assert write_answers_html(tmp_path, "demo", build_front(OBJECTIVES, RULES, records)) is None
    assert not (tmp_path / "answers.html").exists()


def test_the_page_of_the_front_ends_with_what_it_ran_with(tmp_path: Path) -> None:
    records, _ = detailed_sweep(2, replicated=0)
    manifest = {
        "date": "2026-01-02",
        "git": None,
        "versions": {"torch": "2.12", "ray": None},
        "models": {"a<b": "0123456789abcdef", "hub": None},
        "hardware": {"cpus": 8, "gpus": ["H100", "H100"]},
    }
    front = build_front(OBJECTIVES, RULES, records)
    write_html(plot_data("demo", front), front, tmp_path / "front.html", manifest=manifest)
    page = (tmp_path / "front.html").read_text(encoding="utf-8")
    told = page.split("What it ran with")[1].split("</dl>")[0]
    for text in ("2026-01-02", "torch 2.12", "a&lt;b (0123456789ab), hub (unknown version)", "8 cores, H100, H100"):
        assert text in told
    assert "ray" not in told
    assert "commit" not in told
