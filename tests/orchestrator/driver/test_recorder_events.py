"""What of Ray Tune's callbacks becomes an event of the journal, and what does not."""

import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as parquet
import pytest
from searches import searcher, sweep, trade_off

from orchestrator.driver.recorder import Recorder
from orchestrator.record.journal import Event, Journal, read_journal, records
from orchestrator.record.trials import Status
from orchestrator.slots.messages import Update
from training.evaluation.scores import Scores

ANSWER = {"set": "harmful", "prompt": "p", "answer": "a"}


class Scene:
    """A recorder over a real journal and a real search, whose first two proposals Tune calls a and b."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = Journal(folder / "journal.jsonl")
        self.search = searcher(sweep(trials=2))
        for name in ("a", "b"):
            self.search.suggest(name)
        self.heard: list[Event] = []
        self.taken: list[str] = []
        self.recorder = Recorder(self.journal, self.search, self._take, folder / "answers", [self.heard.append])

    def _take(self, job_id: str) -> list[dict[str, Any]]:
        self.taken.append(job_id)
        return [ANSWER]

    def start(self, *names: str) -> None:
        for name in names:
            self.recorder.on_trial_start(0, [], SimpleNamespace(trial_id=name))

    def report(self, name: str, *updates: Update) -> None:
        self.recorder.on_trial_result(0, [], SimpleNamespace(trial_id=name), {"updates": list(updates)})

    def complete(self, name: str) -> None:
        self.recorder.on_trial_complete(0, [], SimpleNamespace(trial_id=name))

    @property
    def events(self) -> list[tuple[str, str]]:
        """(event, id) of everything on disk."""
        return [(event["event"], event.get("id", "")) for event in read_journal(self.folder / "journal.jsonl")]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.journal.close()


def step(number: int) -> Update:
    return Update("step", number, Scores({"train/loss": 1.0 / number, "train/ratio": math.nan}))


def test_a_trial_is_started_reported_and_ended_once(scene: Scene) -> None:
    scene.start("a")
    scene.report("a", step(4), step(8))
    scene.report("a", step(8), Update("rung", 8, Scores({"utility/loss": 1.0})))  # its restarted actor, once more
    measured = trade_off(scene.search.proposals["a"])
    scene.report("a", measured)
    scene.complete("a")
    base = "small-base"
    assert scene.events == [
        ("trial_started", base),
        ("trial_reported", base),
        ("trial_reported", base),
        ("trial_rung", base),
        ("trial_ended", base),
    ]
    assert [event["event"] for event in scene.heard] == [event for event, _ in scene.events]
    (record,) = records(read_journal(scene.folder / "journal.jsonl"))
    assert (record.status, record.report, record.select) == (Status.FINISHED, measured.report, measured.select)
    assert record.history == ((4, {"train/loss": 0.25}), (8, {"train/loss": 0.125}))


def test_answers_are_kept_of_what_was_measured_only(scene: Scene) -> None:
    scene.start("a", "b")
    scene.report("a", Update("failed", error="diverged"))
    scene.report("b", trade_off(scene.search.proposals["b"]))
    assert scene.taken == ["small-ift"]
    (file,) = (scene.folder / "answers").iterdir()
    assert parquet.read_table(file).to_pylist()[0]["answer"] == "a"


def test_what_ends_without_a_last_report_was_stopped(scene: Scene) -> None:
    scene.start("a", "b")
    scene.complete("a")
    scene.recorder.close()
    scene.recorder.close()
    ended = [event for event in scene.heard if event["event"] == "trial_ended"]
    assert [(event["id"], event["status"]) for event in ended] == [("small-base", "STOPPED"), ("small-ift", "STOPPED")]


def test_nothing_is_recorded_once_the_sweep_was_ended(scene: Scene) -> None:
    scene.start("a")
    scene.recorder.note("the disk is slow")
    scene.recorder.close()
    scene.recorder.note("the disk is slow")
    scene.report("a", step(4))
    scene.start("b")
    assert scene.events == [("trial_started", "small-base"), ("note", ""), ("trial_ended", "small-base")]


def test_an_actor_that_died_again_and_again_fails_its_trial(scene: Scene) -> None:
    scene.start("a")
    scene.recorder.on_trial_error(0, [], SimpleNamespace(trial_id="a", error_file="there/error.txt"))
    assert scene.heard[-1]["status"] == Status.FAILED
    assert "there/error.txt" in scene.heard[-1]["error"]


def test_a_model_that_cannot_be_prepared_is_given_up_once(scene: Scene) -> None:
    scene.start("a", "b")
    for name in ("a", "b"):
        scene.report(name, Update("failed", error="no template", unprepared=True))
    given_up = [event for event in scene.heard if event["event"] == "model_given_up"]
    assert [(event["model"], event["error"]) for event in given_up] == [("small", "no template")]
    assert [event.get("unprepared") for event in scene.heard if event["event"] == "trial_ended"] == [True, True]


def test_a_trial_that_starts_again_reports_its_steps_again(scene: Scene) -> None:
    scene.start("a")
    scene.report("a", step(4))
    scene.complete("a")
    scene.start("a")
    scene.report("a", step(4))
    assert [event for event, _ in scene.events].count("trial_reported") == 2
