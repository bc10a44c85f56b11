"""A sweep with two arms, on the page and in the terminal: its verdict, and which trials are plain."""

import io
from dataclasses import replace
from pathlib import Path

from front_samples import OBJECTIVES, RULES, record
from rich.console import Console

from orchestrator.front.document import build_front
from orchestrator.front.schema.document import FrontDocument
from orchestrator.report.console import render_table
from orchestrator.report.page import write_html
from orchestrator.report.plots.data import plot_data
from sweeps.schema.arms import PLAIN


def front() -> FrontDocument:
    plain = replace(record("organism-1", 0.05, 0.6), arm=PLAIN, params={"learning_rate": 1e-3})
    return build_front(OBJECTIVES, RULES, [record("organism-0", 0.1, 0.8), plain])


def sentence() -> str:
    verdict = front().models["organism"].verdict
    assert verdict is not None
    return verdict.sentence


def test_the_page_says_who_wins_and_which_trials_are_plain(tmp_path: Path) -> None:
    write_html(plot_data("demo", front()), front(), tmp_path / "front.html")
    page = (tmp_path / "front.html").read_text(encoding="utf-8")
    assert sentence() in page
    assert "organism-1 <small>plain</small>" in page
    assert "organism-0 <small>" not in page


def test_so_does_the_terminal() -> None:
    text = io.StringIO()
    terminal = Console(file=text, width=200)
    for table in render_table(front()):
        terminal.print(table)
    assert " ".join(sentence().split()) in " ".join(text.getvalue().split())
    assert "plain learning_rate=0.001" in text.getvalue()
