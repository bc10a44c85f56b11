"""``procon front --figure``: pictures for papers, with their fonts, the same bytes each time; the rest is refused."""

import re
from pathlib import Path

import pytest
from command_line import procon
from front_samples import OBJECTIVES, RULES, sweep
from written_sweeps import demo_spec, write_sweep

from orchestrator.errors import OutputError
from orchestrator.front.document import build_front
from orchestrator.report.figures import Wanted, write_figures


def test_the_front_is_drawn_for_a_paper(tmp_path: Path) -> None:
    front = build_front(OBJECTIVES, RULES, sweep(12))
    wanted = [Wanted.parse(str(tmp_path / name)) for name in ("a.pdf", "b.svg", "c.png")]
    write_figures("demo", front, [*wanted, Wanted.parse(f"course={tmp_path / 'd.svg'}")])
    first = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert {name: content[:4] for name, content in first.items()}.items() >= {
        "a.pdf": b"%PDF",
        "c.png": b"\x89PNG",
    }.items()
    assert b"FontFile2" in first["a.pdf"], "the font is in the file"
    assert b"<text" not in first["b.svg"], "letters are outlines, so that no font is missed"
    write_figures("demo", front, wanted)
    assert {name: (tmp_path / name).read_bytes() for name in ("a.pdf", "b.svg", "c.png")}.items() <= first.items()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a.jpg", "must end in .png, .pdf, .svg"),
        ("nothing=a.pdf", "write FILE or front or course=FILE"),
        ("/nowhere/at/all.pdf", "is not there; make it first"),
        ("a" * 300 + "/b.pdf", "cannot be a folder"),
        ("", "must end in"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_anything_is_read(text: str, says: str) -> None:
    with pytest.raises(OutputError, match=re.escape(says)):
        Wanted.parse(text)


def test_on_the_command_line(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", demo_spec(), sweep(6))
    done = procon("front", folder, "--figure", tmp_path / "pareto.pdf")
    assert (done.returncode, "pareto.pdf" in done.stdout.replace("\n", "")) == (0, True), done.stderr
    assert (tmp_path / "pareto.pdf").is_file()
    assert "one sweep" in procon("front", folder, folder, "--figure", "a.pdf").stderr


@pytest.mark.parametrize("form", ["pdf", "svg", "png"])
def test_only_a_figure_of_ours_is_replaced_unasked(tmp_path: Path, form: str) -> None:
    front, file = build_front(OBJECTIVES, RULES, sweep(6)), tmp_path / f"a.{form}"
    file.write_bytes(b"somebody's own")
    with pytest.raises(OutputError, match=re.escape("replace it with --force")):
        Wanted.parse(str(file))
    write_figures("demo", front, [Wanted.parse(str(file), force=True)])
    drawn = file.read_bytes()
    write_figures("demo", front, [Wanted.parse(str(file))])
    assert file.read_bytes() == drawn
    (tmp_path / f"folder.{form}").mkdir()
    with pytest.raises(OutputError, match="exists"):
        Wanted.parse(str(tmp_path / f"folder.{form}"), force=True)
