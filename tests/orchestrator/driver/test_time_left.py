"""One estimate of the time left, whoever shows it."""

import io
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from test_progress import ended, show, spec, started

from orchestrator.commands.status import sweep_status
from orchestrator.driver.progress import Progress
from orchestrator.driver.time_left import Timetable
from orchestrator.record.events import Event
from orchestrator.record.folder import JOURNAL, LOCK
from orchestrator.record.sweep_state import SweepState
from orchestrator.terminal import Terminal

Events = list[Event]
REFERENCES: Events = [
    started("small-base", 0, "reference", trained=False),
    started("small-ift", 0, "reference"),
    ended("small-base", 60),
    started("small-ift_safety", 60, "reference"),
    ended("small-ift", 100),
    ended("small-ift_safety", 90),
]
"""Two slots; plain fine-tuning also waited for its slot to load, so that 30 s is what a training takes."""


def estimate(events: Events, now: float = 100.0, **changes: Any) -> float | None:
    state = SweepState.of([{"event": "sweep_started", "time": 0.0}, *events])
    return Timetable(spec(**changes), state).seconds_left(now)


def test_it_is_unknown_before_a_training_has_ended() -> None:
    assert estimate(REFERENCES[:4]) is None


def test_the_first_trial_of_a_slot_does_not_count_once_others_have_ended() -> None:
    assert estimate(REFERENCES[:5]) == 60 + 100 + 100  # nothing better is known: 60 s of the safety data, then four
    assert estimate(REFERENCES) == 2 * 30


def test_pruned_trials_make_those_to_come_shorter() -> None:
    searched = [
        started("small-0", 100),
        started("small-1", 100),
        ended("small-0", 130),
        ended("small-1", 110, "PRUNED"),
    ]
    assert estimate([*REFERENCES, *searched], 130) == 20  # two more of (30 + 10) / 2, side by side


def test_what_runs_counts_in_part() -> None:
    step = {"event": "trial_reported", "id": "small-0", "step": 9, "metrics": {}, "time": 105.0}
    running = [started("small-0", 100), step, started("small-1", 100)]
    # Three quarters of small-0 are done, and by the clock a third of small-1; then each slot takes one more.
    assert estimate([*REFERENCES, *running], 110) == pytest.approx(max(7.5 + 30, 20 + 30))


def test_what_a_killed_driver_left_has_to_begin_again() -> None:
    cut = [started("small-0", 100), {"event": "sweep_resumed", "time": 1000.0}]
    both = [started("small-0", 1000), started("small-1", 1000)]
    assert estimate([*REFERENCES, *cut], 1000) == 4 * 30  # one slot as far as anybody knows
    assert estimate([*REFERENCES, *cut, *both], 1000) == 2 * 30


def test_a_stopped_trial_has_to_begin_again_and_a_failed_one_not() -> None:
    left = [started("small-0", 100), ended("small-0", 110, "STOPPED")]
    gone = [started("small-0", 100), ended("small-0", 110, "FAILED")]
    assert estimate([*REFERENCES, *left], 110) == 2 * 30
    assert estimate([*REFERENCES, *gone], 110) == 2 * 30  # three are left for two slots
    assert estimate([*REFERENCES, *gone], 110, trials=3) == 30


def test_lost_slots_do_no_work_until_they_are_back() -> None:
    assert estimate(REFERENCES) == 2 * 30
    lost = [*REFERENCES, {"event": "slots_lost", "lost": 1, "time": 100.0}]
    assert estimate(lost) == 4 * 30
    all_lost = [*REFERENCES, {"event": "slots_lost", "lost": 2, "time": 100.0}]
    assert estimate(all_lost) == 4 * 30, "at least one is hoped for"
    assert estimate([*lost, {"event": "slots_lost", "lost": 0, "time": 100.0}]) == 2 * 30
    resumed = [{"event": "sweep_resumed", "time": 100.0}, started("small-0", 100), started("small-1", 100)]
    assert estimate([*lost, *resumed]) == 2 * 30, "another driver has slots of its own"


def test_repetitions_of_the_front_of_now_are_to_come() -> None:
    front = [started(f"small-{n}", 100) for n in range(4)]
    front += [ended("small-0", 130, attacks=0.1), *(ended(f"small-{n}", 130, attacks=0.5) for n in range(1, 4))]
    assert estimate([*REFERENCES, *front], 130) == 0
    three = {"replicates_on_front": 3}
    # small-0 and two references, twice each, on four slots.
    assert estimate([*REFERENCES, *front], 130, seeds=three) == 60
    repeated = [started("small-0-r1", 130, "replicate"), ended("small-0-r1", 160)]
    assert estimate([*REFERENCES, *front, *repeated], 160, seeds=three) == 60
    repeated += [started("small-0-r2", 160, "replicate"), ended("small-0-r2", 190)]
    assert estimate([*REFERENCES, *front, *repeated], 190, seeds=three) == 30


def test_each_model_takes_its_own_time() -> None:
    models = [{"name": "small", "path": "organism/small"}, {"name": "large", "path": "organism/small", "seed": 1}]
    large = [started("large-0", 100) | {"model": "large"}, ended("large-0", 400)]
    small = [started("small-0", 400), ended("small-0", 430)]
    # Of the small one a trial is left (30 s), of the large one the references and a trial (300 s each).
    assert estimate([*REFERENCES, *large, *small], 430, models=models, trials=2) == pytest.approx(30 + 2 * 300, abs=30)


def test_progress_and_status_tell_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The live display of the driver, and another shell that reads the journal, resumed and with replicates."""
    sweep = spec(seeds={"replicates_on_front": 3})
    begin = {"event": "sweep_started", "time": 0.0, "spec": sweep.model_dump(mode="json"), "manifest": {}}
    before = [begin, *REFERENCES, started("small-0", 100), ended("small-0", 130), started("small-1", 130)]
    step = {"event": "trial_reported", "id": "small-1", "step": 3, "metrics": {"train/loss": 1.0}, "time": 1010.0}
    now = [started("small-1", 1000), started("small-2", 1000), step, ended("small-2", 1040)]
    now = [{"event": "sweep_resumed", "time": 999.0, "manifest": {}}, *now]
    lines = [*before, *now]
    (tmp_path / JOURNAL).write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / LOCK).write_text(json.dumps({"pid": os.getpid(), "host": "elsewhere"}))
    monkeypatch.setattr("orchestrator.commands.status.driver_lives", lambda _directory: True)
    state = SweepState.of(before)
    progress = Progress(Terminal(file=io.StringIO()), sweep, state)
    show(progress, state, *now)
    monkeypatch.setattr(time, "time", lambda: 1050.0)
    monkeypatch.setattr("orchestrator.driver.progress.now", time.time)
    told = sweep_status(tmp_path).seconds_left
    assert told == progress.seconds_left()
    assert told is not None
    assert told > 60
