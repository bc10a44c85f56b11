"""The study of docs/study.md: run the sweep where its folder is absent, then write its tables and figures.

    python benchmarks/study.py                        # runs/study; see docs/study.md for how long it takes
    python benchmarks/study.py --out DIR --docs docs  # another folder; an interrupted sweep goes on

The tables replace what stands between the marks of docs/study.md, and are printed too.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import study_figures as figures
import study_tables as tables
from study_runs import ARMS, Run, of_arm, read_runs

from orchestrator.record.folder import JOURNAL
from orchestrator.record.journal import read_journal

DOCS = Path(__file__).parent.parent / "docs"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"


def sweep(out: Path) -> None:
    """Run the sweep, or what is left of it."""
    verb = ["resume", str(out)] if (out / JOURNAL).exists() else ["run", "study", "--out", str(out)]
    done = subprocess.run([sys.executable, "-m", "orchestrator", *verb])
    if done.returncode:
        sys.exit(
            f"the sweep in {out} did not end well (exit code {done.returncode}): the same command goes on from there"
        )


def ended(out: Path) -> bool:
    """Whether the sweep in ``out`` has come to its end."""
    if not (out / JOURNAL).exists():
        return False
    marks = ("sweep_started", "sweep_resumed", "sweep_ended")
    last = [event for event in read_journal(out / JOURNAL) if event["event"] in marks][-1]
    return last["event"] == "sweep_ended" and not last["interrupted"]


def text(runs: Sequence[Run], notes: Sequence[str], scaled: Sequence[Run] = ()) -> str:
    """All tables in Markdown.

    Args:
        runs: trained and untouched models.
        notes: sentences before them.
        scaled: models between them.
    """
    parts = [
        ("Rates", tables.rates(runs)),
        ("Against scaled plain fine-tuning", tables.against_scaled(runs, scaled)),
        ("Differences on the same bases, seeds and prompts", tables.against_plain(runs)),
        ("Pairs that claims are about", tables.contrasts(runs)),
        ("Each base: mean (smallest-largest) over the fine-tuning seeds", tables.by_base(runs)),
        ("Drift of the arms, mean over layers", tables.drift_by_arm(runs)),
        ("Spearman's correlation of drift with attack success", tables.drift(runs)),
    ]
    return "\n\n".join([*notes, *(f"### {title}\n\n{table}" for title, table in parts)])


def notes_on(runs: Sequence[Run], lost: Sequence[str]) -> list[str]:
    """What is there, and what is not."""
    tuned = [run for run in runs if run.arm in ARMS]
    counted = ", ".join(str(count) for count in sorted({len(of_arm(tuned, arm)) for arm in ARMS}))
    bases = ", ".join(sorted({run.base for run in tuned}))
    sentences = [f"{len(tuned)} fine-tuning runs of {bases}; runs of an arm: {counted}."]
    if lost:
        sentences.append(f"Not finished: {', '.join(lost)}.")
    return [" ".join(sentences)]


def put(path: Path, content: str) -> None:
    """Replace what stands between the marks of the page at ``path``."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        sys.exit(f"{path} has no marks {BEGIN} and {END}: the tables are not written to it")
    path.write_text(f"{before}{BEGIN}\n{content}\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/study"), help="folder of the sweep")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of study.md and its figures")
    options = parser.parse_args()
    if not ended(options.out):
        sweep(options.out)
    found, lost = read_runs(options.out)
    runs, scaled = [run for run in found if run.scale == 1], [run for run in found if run.scale != 1]
    content = text(runs, notes_on(runs, [f"{record.id} ({record.status.lower()})" for record in lost]), scaled)
    print(content)
    figures.rates(runs, scaled, options.docs / "study-rates.png")
    figures.drift(runs, options.docs / "study-drift.png")
    if (options.docs / "study.md").exists():
        put(options.docs / "study.md", content)


if __name__ == "__main__":
    main()
