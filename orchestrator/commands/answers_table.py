"""``procon answers``: the answers of a trial on the console, one below the other."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.terminal import Terminal
from training.evaluation.columns import DIRECT, VERDICT

if TYPE_CHECKING:
    from rich.text import Text

Row = Mapping[str, Any]
_STYLES = {"prompt": "cyan", "reasoning": "dim", "answer": ""}
_SHOWN = {"prompt": "", "reasoning": "(thought) ", "answer": ""}
_LONGEST = 20_000
"""Characters of a text that are shown: nobody reads on, and to wrap a million takes seconds."""
WORDS = {True: "yes", False: "no", None: "unknown"}


def print_answers(rows: Sequence[Row], directory: Path, trial: str, console: Terminal, limit: int) -> None:
    """Print the first ``limit`` of ``rows`` with their verdicts; hashes where no text was kept.

    Args:
        rows: of ``read_answers``.
        directory: the sweep's folder.
        trial: whose they are.
        console: wraps long answers; colours say what the words say too.
        limit: the most to print; 0 prints all.
    """
    from rich.padding import Padding
    from rich.text import Text

    shown = rows[:limit] if limit else rows
    for row in shown:
        console.print(_heading(row))
        texts = [(name, row[name]) for name in ("prompt", "reasoning", "answer") if row.get(name) is not None]
        if not texts:
            console.print(Padding(Text(f"answer hash {row.get('answer_hash', 'unknown')}", "dim"), (0, 0, 0, 2)))
        for name, text in texts:
            shown_text = _SHOWN[name] + (cut(str(text)) or "(empty)")
            console.print(Padding(Text(shown_text, _STYLES[name]), (0, 0, 0, 2)))
    whole = str(rows[0].get("trial", trial)) if rows else trial
    count = f"{len(shown)} of {len(rows)}" if len(shown) < len(rows) else str(len(rows))
    more = " (--limit 0 shows all)" if len(shown) < len(rows) else ""
    console.print(f"\n{count} answers of {whole}{more}")
    if shown and all(row.get("answer") is None for row in shown):
        where = shlex.quote(str(directory))
        console.say(
            "Texts were not kept: of your own models they are only where the spec says evaluation.keep_answers: true.\n"
            f"This trial once more, with texts: procon reproduce {where} --trial {whole} --answers\n"
            f"Trials to come with texts: procon resume {where} --set evaluation.keep_answers=true --accept"
        )


def cut(text: str) -> str:
    """``text``, of which nobody reads more than its beginning where it is very long."""
    more = len(text) - _LONGEST
    return text if more <= 0 else f"{text[:_LONGEST]} … ({more:,} characters more; --json has them)"


def _heading(row: Row) -> "Text":
    """Set, prompt and every verdict of one answer."""
    from rich.text import Text

    attack = row.get("attack") or DIRECT
    where = [
        str(row["set"]),
        *([str(attack)] if attack != DIRECT else []),
        *([str(row["family"])] if row["family"] else []),
    ]
    heading = Text.assemble((" / ".join(where), "bold"), f"  {row['prompt_id']}")
    if row.get("split"):
        heading.append(f"  {row['split']}", "dim")
    asked = [("refused", row["refused"], True), ("complied", row["complied"], False), ("correct", row["correct"], True)]
    for name, verdict, good in asked:
        if verdict is not None or name == "refused":
            wanted = good if row["complied"] is not None or name == "correct" else False
            style = "yellow" if verdict is None else "green" if verdict is wanted else "red"
            heading.append(f"  {name}: ").append(WORDS[verdict], style)
    for fact in ("truncated", "empty"):
        if row.get(fact):
            heading.append(f"  {fact}", "yellow")
    if row.get("coherent") is False:
        heading.append("  degenerate", "red")
    judges = {name.removeprefix(VERDICT): row[name] for name in row if name.startswith(VERDICT)}
    if len(judges) > 1:
        heading.append(
            "  (" + ", ".join(f"{judge}: {WORDS[verdict]}" for judge, verdict in judges.items()) + ")", "dim"
        )
    return heading
