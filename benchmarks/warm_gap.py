"""How long a warm slot stands idle between two trials, from the journal of a sweep.

    procon run demo --set trial.log_every=1 --out /tmp/gap
    python benchmarks/warm_gap.py /tmp/gap

The gap runs from a trial's last report (its measurement) to the first step of the trial that takes its place, as the
driver's journal saw both. With ``log_every`` 1 the first report comes right after the first step, which is in the gap.
"""

import statistics
import sys
from pathlib import Path

from orchestrator.record.events import Event
from orchestrator.record.journal import read_journal


def gaps(events: list[Event]) -> list[float]:
    """Seconds between an end and the next first report, for every trial that followed another in a slot."""
    ends: list[float] = []
    waiting: dict[str, float] = {}
    found = []
    for event in events:
        if event["event"] == "trial_ended":
            ends.append(event["time"])
        elif event["event"] == "trial_started" and ends:
            waiting[event["id"]] = ends.pop(0)
        elif event["event"] == "trial_reported" and event["id"] in waiting:
            found.append(event["time"] - waiting.pop(event["id"]))
    return found


def main(directory: Path) -> None:
    """Print the table."""
    found = gaps(read_journal(directory / "journal.jsonl"))
    print(f"{'trials':>8} {'median s':>9} {'max s':>9}")
    print(f"{len(found):>8} {statistics.median(found):>9.2f} {max(found):>9.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
