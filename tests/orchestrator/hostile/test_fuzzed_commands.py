"""Whatever is typed, the command answers or refuses in words; nothing is left behind."""

import io
import os
from pathlib import Path

import pytest
from cases import SIGNS, TEXTS, counts, holds
from command_line import procon
from hypothesis import strategies as st
from test_terminal import OBEYED

from orchestrator.terminal import Terminal, neutralised
from sweeps.schema.spec_files import preset_names

VERBS = st.sampled_from(
    [
        "run",
        "resume",
        "extend",
        "stop",
        "front",
        "answers",
        "train",
        "direction",
        "inspect",
        "plan",
        "status",
        "export",
        "reproduce",
        "init",
        "doctor",
        "organism",
        "--version",
        "nothing",
    ]
)
OPTIONS = st.sampled_from(["--set", "--trial", "--out", "--to", "--limit", "--wait", "--json", "--model", "--address"])
WORDS = TEXTS.filter(lambda text: "\x00" not in text and text.isprintable() | bool(text))


def typed(text: str) -> str:
    """What a shell can pass on: no null character, and no half of a pair."""
    return text.replace("\x00", "").encode(errors="surrogateescape" if text.isascii() else "replace").decode()


@counts(20, 1500)
def test_any_words(count: int, tmp_path: Path) -> None:
    harmless = set(preset_names()) | {"doctor"}

    def check(verb: str, words: list[str]) -> None:
        words = [word for word in map(typed, words) if word not in harmless]
        if verb in ("doctor", "organism", "--version") and not words:
            return
        done = procon(verb, *words, folder=tmp_path)
        assert done.returncode in (0, 2), (done.returncode, done.stderr)
        assert done.returncode == 0 or done.stderr.strip() or done.stdout.strip()
        assert "Traceback" not in done.stderr
        assert not OBEYED.search(done.stderr.replace("\t", "")), repr(done.stderr)
        assert not os.listdir(tmp_path)

    words = st.lists(st.one_of(OPTIONS, TEXTS), max_size=4)
    holds(count, check, verb=VERBS, words=words)


@counts(45, 1000)
def test_any_text_is_shown_and_not_obeyed(count: int) -> None:
    def check(text: str, style: bool) -> None:
        shown = io.StringIO()
        Terminal(file=shown, width=60, color_system=None).say((text, "bold red") if style else text, " end")
        assert not OBEYED.search(shown.getvalue().replace("\t", ""))
        assert " end" in shown.getvalue().replace("\n", " ")
        assert neutralised(neutralised(text)) == neutralised(text)

    holds(count, check, text=st.one_of(TEXTS, st.text(alphabet=SIGNS, max_size=200)), style=st.booleans())


@pytest.mark.parametrize("name", ["a/b", "..", "", "a" * 300])
@pytest.mark.parametrize("field", ["name", "models.0.name"])
def test_names_are_no_places(field: str, name: str, tmp_path: Path) -> None:
    done = procon("plan", "demo", "--set", f"{field}={name!r}", folder=tmp_path)
    assert done.returncode == 2
    assert f"procon: {field} (" in done.stderr
    assert not os.listdir(tmp_path)
