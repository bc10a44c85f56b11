"""How much of the time the slots of a sweep had nothing to do, from when its trials ran (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.record.trials import TrialRecord

PAUSE_SECONDS = 60.0
"""A longer time in which nothing ran is a pause between two runs of the sweep rather than idleness."""


@dataclass(frozen=True)
class Idle:
    """What the slots did."""

    slots: int
    """The most trials that ran at once."""
    idle: float
    """Share of the slots' time in which they ran no trial, between 0 and 1."""


def idle_share(records: Sequence[TrialRecord]) -> Idle | None:
    """One minus the trials' time over (slots x wall-clock time from the first start to the last end).

    The number of slots is the most trials that ran at once; pauses of the whole sweep are left out.

    Returns:
        none where fewer than two trials ran at once at any time, since one slot is never idle by this measure.
    """
    spans = sorted((r.started, r.finished) for r in records if r.finished is not None and r.finished > r.started)
    if not spans:
        return None
    changes = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    running = most = 0
    busy = wall = 0.0
    before = changes[0][0]
    for at, change in changes:  # at one moment an end comes before a start: a slot that goes on is one slot
        if running or at - before <= PAUSE_SECONDS:
            wall += at - before
        busy += running * (at - before)
        running += change
        most, before = max(most, running), at
    return Idle(most, 1 - busy / (most * wall)) if most > 1 and wall > 0 else None
