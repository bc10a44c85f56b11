"""The front as a terminal draws it."""

import csv
import io
from pathlib import Path

import pytest
from command_line import procon
from detailed_samples import detailed_sweep
from front_samples import OBJECTIVES, halves, record, references
from written_sweeps import demo_spec, write_sweep

from orchestrator.front.document import build_front
from orchestrator.record.trials import Status
from orchestrator.report.plots.data import plot_data
from orchestrator.report.text_scatter import text_scatter

TRIALS = [
    *references(),
    halves("a", (0.1, 0.4), (0.1, 0.4)),
    halves("b", (0.3, 0.7), (0.3, 0.7)),
    halves("c", (0.5, 0.8), (0.5, 0.8)),
    halves("d", (0.4, 0.6), (0.4, 0.6)),
]


def drawn(width: int = 80, *, ascii_only: bool = False) -> list[str]:
    data = plot_data("x", build_front(OBJECTIVES, [], TRIALS))
    return text_scatter(data, data.panels[0], width, ascii_only=ascii_only)


@pytest.mark.parametrize("width", [64, 80, 200])
def test_points_lie_where_their_values_are(width: int) -> None:
    lines = drawn(width)
    assert max(map(len, lines[:-1])) <= width, "the last line tells what lies outside, and is folded"
    plane = lines[1:17]
    at = {
        name: (row, line.index(f"● {name}")) for name in "abc" for row, line in enumerate(plane) if f"● {name}" in line
    }
    assert list(at) == ["a", "b", "c"]
    assert at["a"][0] > at["b"][0] > at["c"][0], "higher accuracy is further up"
    assert at["a"][1] < at["b"][1] < at["c"][1]
    # The middle of a and c is where 0.3 lies.
    assert abs(at["b"][1] - (at["a"][1] + at["c"][1]) / 2) <= 1
    assert any("·" in line for line in plane), "the dominated trial is there"


def test_references_outside_are_told_below_the_picture() -> None:
    below = drawn()[-1]
    assert below == "outside: B base model (0.02, 0.30); F plain fine-tuning (0.66, 0.82)"


def test_ascii_alone_where_a_terminal_has_no_more() -> None:
    assert "\n".join(drawn(ascii_only=True)).isascii()


def test_what_cannot_be_drawn_is_left_out() -> None:
    assert drawn(30) == []
    data = plot_data("x", build_front(OBJECTIVES[:1], [], TRIALS))
    assert text_scatter(data, data.panels[0], 80) == []
    data = plot_data("x", build_front(OBJECTIVES, [], [record("a", status=Status.FAILED)]))
    assert text_scatter(data, data.panels[0], 80) == []


def test_the_command_draws_marks_and_keeps_numbers_whole(tmp_path: Path) -> None:
    records, answers = detailed_sweep(8, replicated=0)
    folder = write_sweep(tmp_path, demo_spec(), records, answers)
    said = procon("front", folder, COLUMNS="80").stdout
    assert max(map(len, said.splitlines())) <= 80
    assert "● on the front" in said
    assert "+ To take by the default rule" in said
    assert not any(line.count("[") != line.count("]") for line in said.splitlines() if line.startswith("│"))
    assert "\x1b" not in said, "a pipe gets no colours"
    rows = list(csv.DictReader(io.StringIO(procon("front", folder, "--csv").stdout)))
    assert [row["id"] for row in rows] == [one.id for one in records if one.kind == "trial"]
    assert {row["sweep"] for row in rows} == {str(folder)}
