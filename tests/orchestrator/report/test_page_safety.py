"""The page runs what is ours and nothing that came with a model, an answer or an error."""

import json
import re
import shutil
import subprocess
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest
from detailed_samples import detailed_sweep
from front_samples import OBJECTIVES, RULES, sweep

from orchestrator.front.document import build_front
from orchestrator.front.schema.document import FrontDocument
from orchestrator.report.page import write_html
from orchestrator.report.plots.data import plot_data

HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=document.title='owned'>"
    "<svg/onload=document.title='owned'><a href=javascript:document.title='owned'>x</a>\"'><base href=//evil.example>"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report every name and text of which is hostile."""
    records, answers = detailed_sweep()
    records = [*records, *sweep(12, model="other")]
    front = build_front(OBJECTIVES, RULES, records, answers=answers)
    text = front.model_dump_json()
    for word in ("organism", "other", "phrases", "constraint.alpha", "loss became NaN"):
        text = text.replace(word, word + HOSTILE.replace('"', '\\"'))
    spoilt = FrontDocument.model_validate_json(text)
    written = tmp_path_factory.mktemp("page") / "front.html"
    write_html(plot_data(f"demo{HOSTILE}", spoilt), spoilt, written)
    return written


class Elements(HTMLParser):
    """What a browser makes of a page: its elements, and what stands in its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] == "script" and self.get_starttag_text().startswith("<script"):
            self.scripts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self.found.append(("/script", {}))


def test_texts_are_texts_and_the_policy_names_every_script(page: Path) -> None:
    elements = Elements(page.read_text())
    tags = {tag for tag, _ in elements.found}
    assert not tags & {"img", "a", "base", "iframe", "object", "link", "form"}, tags
    assert {str(attrs.get("class", "")).split(" ")[0] for tag, attrs in elements.found if tag == "svg"} == {"bar"}
    assert not [attrs for _, attrs in elements.found if any(name.startswith("on") for name in attrs)]
    metas = [attrs for tag, attrs in elements.found if tag == "meta"]
    (policy,) = [str(attrs["content"]) for attrs in metas if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    script_sources = re.search("script-src ([^;]*);", policy)
    assert script_sources is not None
    data, program = elements.scripts  # a browser runs no JSON
    assert json.loads(data)["models"]
    assert script_sources[1] == f"'sha256-{b64encode(sha256(program.encode()).digest()).decode()}'"


def opened(page: Path, folder: Path) -> tuple[str, str]:
    """The page as Chromium has it once it is drawn, and what its console said."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += [f"--user-data-dir={folder}", "--virtual-time-budget=20000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_draws_the_page_and_runs_nothing_else(page: Path, tmp_path: Path) -> None:
    drawn, console = opened(page, tmp_path / "profile")
    assert drawn.count("<circle") > 20, console
    assert "<title>owned" not in drawn
    assert "Content Security Policy" not in console, console


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_what_escaping_forgot_the_policy_stops(page: Path, tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt.html"
    spoilt.write_text(page.read_text().replace("<h1>", f"{HOSTILE}<h1>", 1))
    drawn, console = opened(spoilt, tmp_path / "profile")
    assert "<title>owned" not in drawn
    assert "Content Security Policy" in console
