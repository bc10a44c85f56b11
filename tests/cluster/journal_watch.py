"""What the journal of a sweep on the shared storage says, while it grows."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.record.events import Event
from orchestrator.record.journal import read_journal


@dataclass(frozen=True)
class Recorded:
    """A sweep's folder, seen from the machine that the hosts are on."""

    folder: Path

    @property
    def events(self) -> list[Event]:
        """The journal so far."""
        journal = self.folder / "journal.jsonl"
        return read_journal(journal) if journal.exists() else []

    def ended(self) -> dict[str, str]:
        """How each trial ended, by its id."""
        return {event["id"]: event["status"] for event in self.events if event["event"] == "trial_ended"}

    def finished(self) -> list[str]:
        """Trials that came to their end, in that order, each as often as it did."""
        return [e["id"] for e in self.events if e["event"] == "trial_ended" and e["status"] == "FINISHED"]

    def steps(self) -> dict[str, int]:
        """The last step that each trial reported."""
        return {event["id"]: event["step"] for event in self.events if event["event"] == "trial_reported"}

    def wait_until_under_way(self, seconds: float, step: int = 20) -> tuple[str, int]:
        """A trial that has come as far as ``step`` and has some way to go, and the step it is at."""

        def under_way() -> list[tuple[str, int]]:
            ended, steps = self.ended(), self.steps()
            return [(trial, at) for trial, at in steps.items() if trial not in ended and step <= at <= 5 * step]

        self.wait_for("a trial under way", lambda: bool(under_way()), seconds)
        return under_way()[-1]

    def wait_for(self, what: str, condition: Callable[[], bool], seconds: float) -> float:
        """The seconds until ``condition`` holds."""
        begin = time.monotonic()
        while not condition():
            last = self.events[-5:]
            assert time.monotonic() - begin < seconds, f"{what}: not within {seconds} s; last in the journal: {last}"
            time.sleep(0.2)
        return time.monotonic() - begin

    def wait_for_end(self, seconds: float) -> str | None:
        """Why the sweep ended early, once it has ended; None where all was done."""

        def ends() -> list[Event]:
            return [
                event for event in self.events if event["event"] in ("sweep_ended", "sweep_started", "sweep_resumed")
            ]

        self.wait_for("the end of the sweep", lambda: bool(ends()) and ends()[-1]["event"] == "sweep_ended", seconds)
        reason = ends()[-1]["reason"]
        return None if reason is None else str(reason)
