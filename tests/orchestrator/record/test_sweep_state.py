"""What a journal tells of its sweep: every kind of event is heard, and live it comes to the same as from the file."""

import itertools
import random
import re
from collections.abc import Iterator
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from orchestrator.record.events import KINDS, Event
from orchestrator.record.journal import Journal, read_journal, read_state
from orchestrator.record.measured import measured_figures, measured_frame
from orchestrator.record.sweep_state import SweepState
from orchestrator.record.trials import Status
from sweeps.cost.cost import Frame

DRIVER = Path(__file__).parents[3] / "orchestrator/driver"


def at(time: float, event: str, **fields: Any) -> Event:
    return {"event": event, "time": time, **fields}


def started(time: float, trial: str, model: str = "m", kind: str = "trial") -> Event:
    about = {"model": model, "kind": kind, "label": trial, "params": {"x": time}, "trial": {"seed": 0}}
    return at(time, "trial_started", id=trial, **about)


def reported(time: float, trial: str, step: int, seconds: float = 1.0) -> Event:
    return at(time, "trial_reported", id=trial, step=step, metrics={"train/loss": 1.0, "train/seconds": seconds})


def rung(time: float, trial: str, step: int) -> Event:
    return at(time, "trial_rung", id=trial, step=step, metrics={"utility/accuracy": 0.5}, counts={}, errors={})


def scaled(time: float, trial: str, scale: float, **measured: Any) -> Event:
    rung = {"metrics": {"utility/loss": scale}, "counts": {}, "errors": {}}
    full = {f"{half}_{name}": value for half in ("report", "select") for name, value in measured.items()}
    return at(time, "trial_scaled", id=trial, step=40, scale=scale, **rung, **full)


def ended(time: float, trial: str, status: str = "FINISHED", **fields: Any) -> Event:
    measured = {"metrics": {"utility/accuracy": 0.5}, "counts": {"utility/accuracy": [1, 2]}, "error": None}
    return at(time, "trial_ended", id=trial, status=status, **measured, **fields)


SWEEP = [
    at(0, "sweep_started", spec={"trials": 2}, manifest={"date": "2026-01-02"}),
    at(5, "model_built", model="m", seconds=4.0),
    started(10, "a"),
    at(11, "note", text="a slot has something to say"),
    at(11, "mlflow_run", key="a", run_id="run of a"),
    started(12, "b"),
    reported(20, "a", 10, 9.0),
    reported(21, "a", 20, 1.0),
    reported(23, "a", 40, 2.0),
    rung(24, "a", 40),
    scaled(29, "a", 0.5, metrics={"utility/accuracy": 0.4}),
    ended(30, "a"),
    started(32, "c", model="other"),
    ended(33, "c", "FAILED", unprepared=True),
    at(33, "model_given_up", model="other", error="no layers"),
    at(33, "slots_lost", lost=1),
    at(33, "slots_up", up=1),
    at(500, "sweep_resumed", manifest={"date": "2026-03-04"}),
    at(501, "spec_changed", spec={"trials": 3}, changes=[]),
    started(510, "b"),
    at(511, "trial_forked", id="b", of="a", step=10),
    ended(530, "b", "STOPPED"),
    at(540, "sweep_ended", interrupted=True, reason="interrupted"),
    at(900, "mlflow_run", key="b", run_id="run of b"),
]


def everything(state: SweepState) -> dict[str, Any]:
    """All that a state holds and answers."""
    held = {name: value for name, value in vars(state).items() if name != "_lock"}
    asked = {name: getattr(state, name) for name, value in vars(SweepState).items() if isinstance(value, property)}
    figures = {model: measured_figures(state, model) for model in ("m", "other")}
    return {**held, **asked, "records": state.records(), "figures": figures, "frame": measured_frame(state)}


def tellings(events: list[Event]) -> list[dict[str, Any]]:
    """What is told after each of ``events``."""
    return [everything(SweepState.of(events[: number + 1])) for number in range(len(events))]


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_event_goes_unheard(kind: str) -> None:
    assert kind in {event["event"] for event in SWEEP}
    deaf = [
        {"event": "of a later version", "time": event["time"]} if event["event"] == kind else event for event in SWEEP
    ]
    if kind == "trial_started":
        with pytest.raises(KeyError):  # what is said of a trial that nobody has heard of
            SweepState.of(deaf)
    else:
        heard, unheard = (tellings(events) for events in (SWEEP, deaf))
        assert heard != unheard


def test_every_kind_that_is_written_is_one_that_is_described() -> None:
    written = re.compile(r'(?:append|_record)\(\s*"(\w+)"')
    assert {kind for file in DRIVER.glob("*.py") for kind in written.findall(file.read_text())} == set(KINDS)


def test_slots_count_from_when_they_came_until_they_went() -> None:
    grown = [
        at(0, "sweep_started"),
        at(10, "slots_up", up=1),  # it held what it holds while it started, too
        started(11, "a"),
        at(100, "slots_up", up=3),
        at(150, "slots_up", up=2),
        ended(200, "a"),
    ]
    assert SweepState.of(grown).slot_seconds() == 100 + 3 * 50 + 2 * 50
    assert SweepState.of(grown).slot_seconds(300) == 100 + 3 * 50 + 2 * 150, "they are still there"
    again = [*grown, at(1000, "sweep_resumed"), at(1001, "slots_up", up=4), at(1010, "note", text="")]
    assert SweepState.of(again).slot_seconds() == 350 + 4 * 10
    assert SweepState().slot_seconds() == 0


def test_where_no_slot_is_told_of_trials_at_once_are_counted() -> None:
    before = [at(0, "sweep_started"), started(1, "a"), started(2, "b"), ended(50, "a"), ended(100, "b")]
    assert SweepState.of(before).slot_seconds() == 2 * 100


def test_what_another_did_for_a_trial_is_not_its_own_and_costs_it_no_time() -> None:
    without_clock = at(41, "trial_reported", id="b", step=10, metrics={"train/loss": 1.0})
    events = [
        *SWEEP[:12],
        started(40, "b"),
        at(41, "trial_forked", id="b", of="a", step=10),
        without_clock,
        reported(42, "b", 20, 90.0),  # it also waited for the engine
        reported(43, "b", 30, 5.0),
    ]
    trial = SweepState.of(events).trials["b"]
    assert (trial.step, trial.trained_steps) == (30, 20)
    assert (trial.paced_steps, trial.paced_seconds) == (10, 5.0)
    assert (trial.record().forked_from, trial.record().forked_at, trial.record().reached) == ("a", 10, 30)
    assert SweepState.of([*events, ended(50, "b")]).record("b").forked_at == 10
    again = [*events, at(60, "sweep_resumed"), started(61, "b")]
    assert SweepState.of(again).trials["b"].forked == ("a", 10), "it may go on from a checkpoint of its own"
    lost = SweepState.of([*again, reported(62, "b", 10)])
    assert lost.record("b").forked_from is None, "it has done these steps itself"
    assert lost.trials["b"].trained_steps == 10


class TestSweep:
    state = SweepState.of(SWEEP)

    def test_what_it_is_and_was_run_with(self) -> None:
        assert (self.state.spec, self.state.manifest) == ({"trials": 3}, {"date": "2026-03-04"})
        assert self.state.ran_under == [
            ({"trials": 2}, {"date": "2026-01-02"}),
            ({"trials": 3}, {"date": "2026-03-04"}),
        ]
        assert self.state.day == date(2026, 1, 2), "its prompts are of the first day"
        assert SweepState.of([at(0, "sweep_started")]).day == date.fromtimestamp(0)
        assert SweepState().day is None

    def test_time_is_that_of_all_drivers_without_the_pauses(self) -> None:
        assert self.state.seconds == 33 + 40
        assert [(one.began, one.until) for one in self.state.sessions] == [(0, 33), (500, 540)]
        assert SweepState().seconds == 0
        assert self.state.slot_seconds() == 33 + 40
        twice = SweepState.of([*SWEEP, at(950, "sweep_ended", interrupted=True, reason="failed: no room")])
        assert (twice.seconds, twice.last_word["reason"]) == (73, "failed: no room")  # type: ignore[index]
        assert SweepState.of([*SWEEP, at(1000, "sweep_resumed"), at(1005, "x")]).seconds == 73 + 5

    def test_how_it_ended(self) -> None:
        assert not self.state.complete
        whole = [*SWEEP, at(1000, "sweep_resumed"), at(1001, "sweep_ended", interrupted=False, reason=None)]
        assert SweepState.of(whole).complete
        assert SweepState.of(whole[:-1]).last_word is None

    def test_the_report_is_behind_once_something_matters_to_the_front(self) -> None:
        assert not self.state.report_is_behind
        resumed = [*SWEEP, at(1000, "sweep_resumed"), started(1001, "b"), reported(1002, "b", 1)]
        assert not SweepState.of(resumed).report_is_behind
        assert SweepState.of([*resumed, ended(1003, "b")]).report_is_behind
        assert SweepState.of([*resumed, at(1003, "spec_changed", spec={})]).report_is_behind

    def test_a_model_is_given_up_by_one_driver_only(self) -> None:
        assert SweepState.of(SWEEP[:15]).given_up == {"other": "no layers"}
        assert self.state.given_up == {}

    def test_how_many_trials_ran_at_once(self) -> None:
        assert SweepState.of(SWEEP[:15]).slots == 2
        assert self.state.slots == 1, "since the last driver began"
        assert (self.state.slots_of("m"), self.state.slots_of("other"), self.state.slots_of("none")) == (2, 1, 1)

    def test_what_is_under_way(self) -> None:
        state = SweepState.of(SWEEP[:10])
        assert [(one.id, one.step, one.status) for one in state.under_way] == [
            ("a", 40, Status.RUNNING),
            ("b", 0, Status.RUNNING),
        ]
        assert state.under_way[0].report == SWEEP[9]
        state.leave()
        assert (state.under_way, len(state.listed())) == ([], 2)

    def test_what_things_took(self) -> None:
        a, b = self.state.trials["a"], self.state.trials["b"]
        assert (a.paced_steps, a.paced_seconds, a.steps, a.seconds) == (30, 3.0, 40, 20)
        assert (a.starts, a.warm, b.starts, b.warm) == (1, False, 2, False)
        assert self.state.trials["c"].warm
        assert self.state.pauses == [2], "the clock of a pause does not run while nobody drives"
        one = SweepState.of([*SWEEP[:5], ended(30, "a"), at(40, "sweep_ended", interrupted=False), at(42, "x")])
        assert measured_frame(one) == Frame(10 - 4, 2)

    def test_the_rest(self) -> None:
        assert self.state.runs == {"a": "run of a", "b": "run of b"}
        assert self.state.notes == ["a slot has something to say"]
        assert self.state.seconds_built == 4


IN_FULL = {"metrics": {"utility/accuracy": 0.4}, "counts": {"utility/accuracy": [2, 5]}, "errors": {}}


class TestScaled:
    def test_a_model_that_was_measured_in_full_is_a_record_after_its_trial(self) -> None:
        events = [started(0, "a"), scaled(1, "a", 0.75, **IN_FULL), scaled(1, "a", 0.25, **IN_FULL)]
        events += [scaled(1, "a", 0.5), ended(2, "a", select_metrics={"utility/accuracy": 0.6}), started(3, "b")]
        found = SweepState.of(events).records()
        assert [one.id for one in found] == ["a", "a@0.25", "a@0.75", "b"], "of 0.5 forward passes alone were made"
        quarter = found[1]
        assert (quarter.kind, quarter.label, quarter.scaled_of, quarter.scale) == ("scaled", "a@0.25", "a", 0.25)
        assert (quarter.trained, found[0].trained) == ("a", "a")
        assert quarter.report.counts == {"utility/accuracy": (2, 5)}
        assert (quarter.params, quarter.status, quarter.finished) == ({"x": 0}, Status.FINISHED, 2)
        assert [(one.step, one.scores.metrics) for one in quarter.rungs] == [(40, {"utility/loss": 0.25})]

    def test_of_references_and_replicates_they_are_such(self) -> None:
        reference = {**started(0, "m-ift", kind="reference"), "label": "ift"}
        replicate = {**started(0, "a-r1", kind="replicate"), "replicate_of": "a"}
        events = [reference, scaled(1, "m-ift", 0.5, **IN_FULL), ended(2, "m-ift")]
        events += [replicate, scaled(3, "a-r1", 0.5, **IN_FULL), ended(4, "a-r1")]
        _, plain, _, again = SweepState.of(events).records()
        assert (plain.kind, plain.label, plain.id) == ("reference", "ift@0.5", "m-ift@0.5")
        assert (again.kind, again.replicate_of, again.id) == ("replicate", "a@0.5", "a-r1@0.5")

    def test_they_end_with_their_trial_and_go_with_it(self) -> None:
        events = [started(0, "a"), scaled(1, "a", 0.5, **IN_FULL)]
        assert [one.id for one in SweepState.of(events).records()] == ["a"]
        again = [*events, ended(2, "a", "STOPPED"), started(3, "a"), ended(4, "a")]
        assert [one.id for one in SweepState.of(again).records()] == ["a"], "it was not measured again"
        assert SweepState.of([*events, ended(2, "a")]).records_of("a")[1].id == "a@0.5"


class TestTrial:
    def test_an_end_that_was_none_is_undone_and_its_reports_stay(self) -> None:
        again = [started(0, "a"), reported(1, "a", 10), rung(2, "a", 10), ended(3, "a", "STOPPED"), started(9, "a")]
        (record,) = SweepState.of([*again, reported(10, "a", 20)]).records()
        assert (record.status, record.started, record.params) == (Status.RUNNING, 0, {"x": 9})
        assert [step for step, _ in record.history] == [10, 20]
        assert [one.step for one in record.rungs] == [10]
        assert (record.report.metrics, record.finished) == ({}, None)

    @pytest.mark.parametrize(
        ("end", "status"),
        [
            (ended(3, "a"), Status.FINISHED),
            (ended(3, "a", "FAILED"), Status.FAILED),
            (ended(3, "a", "PRUNED", reason="at step 10"), Status.PRUNED),
            (ended(3, "a", "FAILED", unprepared=True), Status.RUNNING),
        ],
        ids=["finished", "failed", "pruned", "unprepared"],
    )
    def test_a_final_end_stays(self, end: Event, status: Status) -> None:
        (record,) = SweepState.of([started(0, "a"), end, started(9, "a")]).records()
        assert (record.status, record.params) == (status, {"x": 9 if status is Status.RUNNING else 0})

    def test_it_is_timed_from_its_latest_start(self) -> None:
        events = [started(0, "a"), reported(1, "a", 10, 5.0), reported(2, "a", 20, 5.0), at(100, "sweep_resumed")]
        state = SweepState.of([*events, started(110, "a"), reported(111, "a", 30, 7.0), reported(112, "a", 40, 2.0)])
        state.take(ended(120, "a"))
        (trial,) = state.listed()
        assert (trial.seconds, trial.paced_steps, trial.paced_seconds, trial.since) == (10, 10, 2.0, 0)


def invented(luck: random.Random, final: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a driver might record of three models, to its end or until it is killed; ``final`` are ends that stand."""
    running: dict[str, int] = {}
    for _ in range(luck.randrange(60)):
        trial = f"t{luck.randrange(12)}"
        if trial in final:
            yield luck.choice(
                [("note", {"text": trial}), ("mlflow_run", {"key": trial, "run_id": f"r{luck.random()}"})]
            )
        elif trial not in running:
            running[trial] = 0
            about = {"kind": luck.choice(["trial", "replicate"]), "label": trial, "params": {"x": (luck.random(), 1)}}
            model = f"m{int(trial[1:]) % 3}"
            yield "trial_started", {"id": trial, "model": model, "trial": {"seed": 1}, "replicate_of": None, **about}
        elif luck.random() < 0.7:
            running[trial] += luck.randrange(1, 9)
            kind, more = luck.choice([("trial_reported", {}), ("trial_rung", {"counts": {"a": (1, 2)}, "errors": {}})])
            metrics = {"a": luck.random(), "train/seconds": luck.random()}
            yield kind, {"id": trial, "step": running[trial], "metrics": metrics, **more}
        else:
            status = luck.choice([Status.FINISHED, Status.PRUNED, Status.FAILED, Status.STOPPED])
            unprepared = status is Status.FAILED and luck.random() < 0.5
            del running[trial]
            final.update([trial] if status is not Status.STOPPED and not unprepared else [])
            measured = {"metrics": {"a": luck.random()}, "counts": {"a": (3, 4)}, "error": None}
            yield "trial_ended", {"id": trial, "status": status, "unprepared": unprepared, **measured}
            if unprepared:
                yield "model_given_up", {"model": f"m{int(trial[1:]) % 3}", "error": "it has no layers"}


@pytest.mark.parametrize("seed", range(8))
def test_live_it_comes_to_the_same_as_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Over several drivers, some of which are killed, at every event; asking on the way changes nothing."""
    luck, path, clock = random.Random(seed), tmp_path / "journal.jsonl", [0.0]
    final: set[str] = set()

    def tick() -> float:
        clock[0] += luck.random()
        return clock[0]

    monkeypatch.setattr("orchestrator.record.journal.now", tick)
    for number in range(4):
        journal = Journal(path, state=read_state(path) if number else None)
        journal.append(
            "sweep_resumed" if number else "sweep_started",
            spec={"models": [{"name": "m"}], "n": (number,)},
            manifest={"n": number},
        )
        for kind, fields in invented(luck, final):
            heard = journal.append(kind, **fields)
            told = deepcopy(everything(journal.state))
            assert heard == read_journal(path)[-1]
            assert everything(journal.state) == told
        assert everything(journal.state) == everything(read_state(path))
        if luck.random() < 0.5:
            journal.append("sweep_ended", interrupted=luck.random() < 0.5, reason=None)
        journal.close()
        with path.open("a") as file:
            file.write('{"event": "trial_en')
    events = read_journal(path)
    state = SweepState.of(events)
    assert state.seconds == pytest.approx(seconds_by_hand(events))
    assert state.slots == slots_by_hand(events)


def seconds_by_hand(events: list[Event]) -> float:
    """Seconds between two events count, but for those after an end and before a start of a driver."""
    total, working = 0.0, False
    for before, after in itertools.pairwise(events):
        working = before["event"] in ("sweep_started", "sweep_resumed") or (
            working and before["event"] != "sweep_ended"
        )
        if working and after["event"] != "sweep_resumed":
            total += after["time"] - before["time"]
    return total


def slots_by_hand(events: list[Event]) -> int:
    """The most trials of the last driver that had started and not ended after any one of its events."""
    first = max(number for number, event in enumerate(events) if event["event"] in ("sweep_started", "sweep_resumed"))
    own = events[first:]
    running = []
    for end in range(1, len(own) + 1):
        last = {
            event["id"]: event["event"] for event in own[:end] if event["event"] in ("trial_started", "trial_ended")
        }
        running.append(sum(kind == "trial_started" for kind in last.values()))
    return max(1, *running)
