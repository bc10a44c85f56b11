"""The table of docs/models.md: written from what the checks return, and read again by the tests."""

import re
from collections.abc import Callable
from pathlib import Path

from architectures import ARCHITECTURES, REFUSED, Architecture
from checks import CHECKS

DOCUMENT = Path(__file__).parents[3] / "docs" / "models.md"
BEGIN, END = "<!-- begin of the table -->", "<!-- end of the table -->"
Outcomes = dict[str, dict[str, str]]
"""What each check returned, by architecture and check; only ``fits`` where an architecture is refused altogether."""


def _outcome(check: Callable[[Architecture], str], one: Architecture) -> str:
    try:
        return check(one)
    except Exception as error:  # a test fails on it; the table says so too
        return f"fails: {type(error).__name__} {error}".splitlines()[0].strip()


def outcomes() -> Outcomes:
    """All checks of all architectures, run here."""
    found = {one.name: {name: _outcome(check, one) for name, check in CHECKS.items()} for one in ARCHITECTURES}
    return found | {one.name: {"fits": CHECKS["fits"](one)} for one in REFUSED}


def rendered(found: Outcomes) -> str:
    """Markdown: a table whose cells are one word, and below it the sentences that belong to them."""
    notes: dict[str, int] = {}

    def cell(outcome: str | None) -> str:
        if outcome is None:
            return ""
        word, _, sentence = re.sub(r"^(yes), but ", r"\1: ", outcome).partition(": ")
        return f"{word} ({notes.setdefault(sentence, len(notes) + 1)})" if sentence else word

    lines = [f"| architecture | {' | '.join(CHECKS)} |", "|---" * (len(CHECKS) + 1) + "|"]
    for name, results in found.items():
        lines.append(f"| {name} | {' | '.join(cell(results.get(check)) for check in CHECKS)} |")
    return "\n".join([*lines, "", *[f"{number}. {sentence}" for sentence, number in notes.items()]])


def written() -> Outcomes:
    """What the document says."""
    text = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    notes = dict(re.findall(r"^(\d+)\. (.+)$", text, flags=re.MULTILINE))
    found: Outcomes = {}
    for line in text.splitlines():
        cells = [one.strip() for one in line.strip("|").split("|")]
        if not line.startswith("| ") or cells[0] == "architecture":
            continue
        results = {}
        for check, cell in zip(CHECKS, cells[1:], strict=True):
            noted = re.fullmatch(r"(yes|refused|fails) \((\d+)\)", cell)
            if noted:
                results[check] = noted[1] + (", but " if noted[1] == "yes" else ": ") + notes[noted[2]]
            elif cell:
                results[check] = cell
        found[cells[0]] = results
    return found


def write(found: Outcomes) -> None:
    """Put the table of ``found`` into the document."""
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    DOCUMENT.write_text(f"{before}{BEGIN}\n{rendered(found)}\n{END}{after}", encoding="utf-8")
