"""What Ray Tune's callbacks leave in the journal, and what its listeners hear."""

import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.driver.recorder import Recorder
from orchestrator.record.answers import AnswerFolder
from orchestrator.record.events import Event
from orchestrator.record.journal import Journal, read_journal
from orchestrator.slots.messages import SCALE, ForkJob, ScaledScores, Update
from training.evaluation.scores import Scores

ACCURACY = "utility/accuracy"
MODELS = {"a": "m", "b": "m", "c": "other"}
"""By trial; each goes by the same id in Ray Tune."""


class Recorded:
    """A recorder over a real journal, and what it was told."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder / "journal.jsonl")
        self.heard: list[Event] = []
        about: dict[str, Any] = {
            "kind": "trial",
            "params": {},
            "settings": None,
            "replicate_of": None,
            "arm": "constraint",
        }
        self.answers: dict[str, list[dict[str, Any]]] = {}
        searcher: Any = types.SimpleNamespace(
            proposals={
                name: types.SimpleNamespace(
                    job=types.SimpleNamespace(id=name, fork=None), model=model, label=name, **about
                )
                for name, model in MODELS.items()
            }
        )
        self.recorder = Recorder(
            self.journal, searcher, lambda name: self.answers.pop(name, []), folder / "answers", [self.heard.append]
        )

    def start(self, *names: str) -> None:
        for name in names:
            self.recorder.on_trial_start(0, [], types.SimpleNamespace(trial_id=name))

    def tell(self, name: str, *updates: Update) -> None:
        self.recorder.on_trial_result(0, [], types.SimpleNamespace(trial_id=name), {"updates": updates})

    @property
    def written(self) -> list[tuple[Any, ...]]:
        """Kind and what tells one event from another."""
        return [
            (event["event"], *(event[name] for name in ("id", "model", "step", "status", "text") if name in event))
            for event in read_journal(self.journal.path)
        ]


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Recorded]:
    made = Recorded(tmp_path)
    yield made
    made.journal.close()


def step(number: int, loss: float = 1.0) -> Update:
    return Update("step", number, scores=Scores({"train/loss": loss}))


def test_every_start_report_and_end_is_written_and_then_heard(recorded: Recorded) -> None:
    recorded.start("a")
    recorded.tell(
        "a", step(1), Update("rung", 1, scores=Scores({"utility/loss": 2.0})), Update("pruned", reason="worse")
    )
    assert recorded.written == [
        ("trial_started", "a", "m"),
        ("trial_reported", "a", 1),
        ("trial_rung", "a", 1),
        ("trial_ended", "a", "PRUNED"),
    ]
    assert recorded.heard == read_journal(recorded.journal.path)


def test_what_a_restarted_worker_reports_again_is_written_once(recorded: Recorded) -> None:
    recorded.start("a", "b")
    recorded.tell("a", step(1), step(2))
    recorded.tell("a", step(1), step(2), step(3))
    recorded.tell("b", step(1))
    assert [entry[1:] for entry in recorded.written[2:]] == [("a", 1), ("a", 2), ("a", 3), ("b", 1)]


def test_a_loss_that_is_no_number_is_left_out(recorded: Recorded) -> None:
    recorded.start("a")
    recorded.tell("a", step(1, float("nan")))
    assert recorded.heard[-1]["metrics"] == {}


def test_a_model_that_cannot_be_prepared_is_given_up_once(recorded: Recorded) -> None:
    recorded.start("a", "b", "c")
    for name in ("a", "b"):
        recorded.tell(name, Update("failed", error="no layers", unprepared=True))
    assert [entry for entry in recorded.written if entry[0] == "model_given_up"] == [("model_given_up", "m")]
    assert recorded.journal.state.given_up == {"m": "no layers"}


def test_an_end_counts_once_and_a_trial_without_one_was_stopped(recorded: Recorded) -> None:
    recorded.start("a", "b")
    recorded.tell("a", Update("measured", 8))
    for name in ("a", "b"):
        recorded.recorder.on_trial_complete(0, [], types.SimpleNamespace(trial_id=name))
    assert recorded.written[2:] == [("trial_ended", "a", "FINISHED"), ("trial_ended", "b", "STOPPED")]


def test_answers_are_there_before_the_end_is_told(recorded: Recorded, tmp_path: Path) -> None:
    recorded.answers["a"] = [{"set": "harmful", "index": 0}]
    recorded.heard.clear()
    there: list[bool] = []
    recorded.recorder._listeners = [lambda event: there.append(any((tmp_path / "answers").glob("*")))]
    recorded.start("a")
    recorded.tell("a", Update("measured", 8))
    assert there == [False, True]


def test_a_closed_recorder_has_ended_what_ran_and_records_nothing_more(recorded: Recorded) -> None:
    recorded.start("a", "b")
    recorded.recorder.close()
    recorded.tell("a", step(1), Update("measured", 8))
    recorded.start("c")
    recorded.recorder.note("too late")
    assert recorded.written[2:] == [("trial_ended", "a", "STOPPED"), ("trial_ended", "b", "STOPPED")]


def test_it_is_closed_by_one_thread_while_others_record(recorded: Recorded) -> None:
    """As where Ray is gone: the main thread may be recording what Tune still tells."""
    recorded.start("a", "b")

    def again(record: Callable[[int], None]) -> threading.Thread:
        thread = threading.Thread(target=lambda: [record(number) for number in range(200)])
        thread.start()
        return thread

    threads = [
        again(lambda number: recorded.tell("a", step(number))),
        again(lambda number: recorded.recorder.note(str(number))),
    ]
    recorded.recorder.close()
    ended = len(recorded.written)
    for thread in threads:
        thread.join()
    assert recorded.written[ended - 2 :] == [("trial_ended", "a", "STOPPED"), ("trial_ended", "b", "STOPPED")]
    assert recorded.heard == read_journal(recorded.journal.path)


def test_scaled_models_are_written_before_the_end_of_their_trial_and_their_answers_apart(recorded: Recorded) -> None:
    looked, full = Scores({"utility/loss": 1.0}), Scores({ACCURACY: 0.5}, {ACCURACY: (1, 2)})
    scaled = (ScaledScores(0.25, looked), ScaledScores(0.5, looked, full, full))
    row = {"set": "task", "prompt_id": "p", "family": None, "refused": None, "complied": None, "correct": True}
    recorded.answers["a"] = [row, {**row, "prompt_id": "q", SCALE: 0.5}]
    recorded.start("a")
    recorded.tell("a", Update("measured", 40, report=full, select=full, scaled=scaled))
    events = [event for event in recorded.heard if event["event"] != "trial_started"]
    assert [(event["event"], event.get("scale")) for event in events] == [
        ("trial_scaled", 0.25),
        ("trial_scaled", 0.5),
        ("trial_ended", None),
    ]
    assert "report_metrics" not in events[0]
    assert events[1]["report_counts"] == {ACCURACY: [1, 2]}
    assert [one.id for one in recorded.journal.state.records()] == ["a", "a@0.5"]
    kept = AnswerFolder(recorded.journal.path.parent / "answers")
    assert {name: [one["prompt_id"] for one in rows] for name, rows in kept.items()} == {"a": ["p"], "a@0.5": ["q"]}


def test_a_fork_is_written_once_with_what_its_first_steps_said(recorded: Recorded) -> None:
    recorded.recorder._searcher.proposals["b"].job.fork = ForkJob("a", 20)
    recorded.start("a", "b")
    inherited = (Update("forked", 20), Update("rung", 10, Scores({"utility/loss": 1.0})), step(20))
    for _attempt in range(2):  # it lost its slot in between
        recorded.tell("b", *inherited)
    recorded.tell("b", step(30))
    events = [event for event in recorded.heard if event["id"] == "b"]
    assert events[0]["forked_from"] == {"trial": "a", "step": 20}
    assert "forked_from" not in recorded.heard[0]
    assert [(one["event"], one.get("step")) for one in events[1:]] == [
        ("trial_forked", 20),
        ("trial_rung", 10),
        ("trial_reported", 20),
        ("trial_reported", 30),
    ]
    assert events[1]["of"] == "a"
    assert recorded.journal.state.record("b").forked_from == "a"


def test_of_a_trial_that_was_over_already_nothing_is_written_again(recorded: Recorded) -> None:
    full = Scores({ACCURACY: 0.5})
    measured = Update("measured", 40, report=full, select=full, scaled=(ScaledScores(0.5, full, full, full),))
    recorded.start("a")
    recorded.tell("a", measured)
    before = list(recorded.written)
    recorded.tell("a", measured)
    assert recorded.written == before
