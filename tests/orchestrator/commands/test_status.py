import io
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from command_line import procon

from orchestrator.commands.status import sweep_status
from orchestrator.commands.status_table import print_status, watch_status
from orchestrator.driver.checkpoints import Keeper, superfluous
from orchestrator.front.document import build_front
from orchestrator.front.front_file import read_front, write_front
from orchestrator.front.membership import front
from orchestrator.front.schema.explanations import Note
from orchestrator.record.folder import JOURNAL, LOCK
from orchestrator.record.journal import Journal, read_journal, records
from orchestrator.record.sign import FRESH_SECONDS
from orchestrator.record.sweep_state import SweepState
from orchestrator.terminal import Terminal
from orchestrator.tracking.front_table import front_rows
from sweeps.schema.load import load_spec

SPEC = load_spec("demo", ["trials=4", "resources.price_per_hour=3600", "budget.money=50"])
TRIAL = SPEC.trial.model_dump(mode="json")
PROGRESS = {"train/loss": 1.0}


def metrics(attacks, accuracy, over_refusal=0.0):
    names = ("safety/attack_success_rate", "utility/accuracy", "safety/over_refusal")
    return dict(zip(names, (attacks, accuracy, over_refusal), strict=True))


class Sweep:
    """A journal whose clock the test sets: ten seconds between two events."""

    def __init__(self, directory, monkeypatch):
        self.directory = directory
        self.clock = time.time() - 1000
        monkeypatch.setattr("orchestrator.record.journal.now", self.tick)
        self.journal = Journal(directory / JOURNAL)
        self.say("sweep_started", spec=SPEC.model_dump(mode="json"), manifest={})

    def tick(self):
        self.clock += 10
        return self.clock

    def say(self, event, **fields):
        self.journal.append(event, **fields)

    def start(self, name, kind="trial"):
        self.say("trial_started", id=name, model="organism", kind=kind, label=name, params={}, trial=TRIAL)

    def end(self, name, status="FINISHED", measured=None):
        self.say("trial_ended", id=name, status=status, metrics=measured or {}, counts={}, error=None)

    def driven_by(self, pid, host=None):
        (self.directory / LOCK).write_text(json.dumps({"pid": pid, "host": host or socket.gethostname()}))


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    made = Sweep(tmp_path, monkeypatch)
    made.start("a")
    made.start("b")
    made.say("trial_reported", id="a", step=10, metrics=PROGRESS)
    made.say("trial_reported", id="b", step=10, metrics=PROGRESS)
    made.end("a", measured=metrics(0.2, 0.9))
    made.start("c")
    made.say("trial_rung", id="b", step=25, metrics={}, counts={}, errors={})
    return made


class TestState:
    def test_a_living_driver_is_running(self, sweep):
        sweep.driven_by(os.getpid())
        found = sweep_status(sweep.directory)
        assert (found.state, found.reason) == ("running", None)
        assert [(one.id, one.step, one.steps) for one in found.running] == [("b", 25, 100), ("c", 0, 100)]
        assert {name: count for name, count in found.counts.items() if count} == {
            "planned": 7,
            "running": 2,
            "finished": 1,
        }

    def test_a_dead_driver_is_told_and_its_trials_are_stopped(self, sweep):
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        sweep.driven_by(gone.pid)
        found = sweep_status(sweep.directory)
        assert found.state == "driver dead"
        assert f"procon resume {sweep.directory}" in str(found.reason)
        assert (found.running, found.seconds_left, found.counts["stopped"]) == ([], None, 2)

    @pytest.mark.parametrize("pid", [None, os.getpid()], ids=["none", "another living process"])
    def test_a_lock_that_nobody_holds_is_no_driver(self, sweep, pid):
        sweep.journal.close()
        if pid:
            sweep.driven_by(pid)
        assert sweep_status(sweep.directory).state == "driver dead"

    def test_a_driver_of_another_machine_is_known_by_the_lock_of_the_journal_and_its_sign_of_life(self, sweep):
        sweep.driven_by(1, host="elsewhere")
        assert sweep_status(sweep.directory).state == "running"
        sweep.journal.close()
        assert sweep_status(sweep.directory).state == "running", "its lock may not reach so far"
        old = time.time() - 2 * FRESH_SECONDS
        os.utime(sweep.directory / LOCK, (old, old))
        assert sweep_status(sweep.directory).state == "driver dead"

    @pytest.mark.parametrize(
        ("interrupted", "reason", "state"), [(False, None, "ended"), (True, "budget.hours (1) is spent", "stopped")]
    )
    def test_an_end_is_told_with_its_reason(self, sweep, interrupted, reason, state):
        sweep.say("sweep_ended", interrupted=interrupted, reason=reason)
        found = sweep_status(sweep.directory)
        assert (found.state, found.reason) == (state, reason)
        said = io.StringIO()
        print_status(found, Terminal(file=said, width=400))
        resumed = f"budget.hours (1) is spent; go on with: procon resume {sweep.directory} --set budget.hours=MORE"
        assert (resumed in said.getvalue()) == interrupted

    def test_what_was_noted_is_shown_once(self, sweep):
        for text in ("warm start of m: 3 trials learnt from", "the [model] is slow", "the [model] is slow"):
            sweep.say("note", text=text)
        found, said = sweep_status(sweep.directory), io.StringIO()
        assert found.notes == ["warm start of m: 3 trials learnt from", "the [model] is slow"]
        print_status(found, Terminal(file=said, width=400))
        assert said.getvalue().count("note      the [model] is slow") == 1


class TestProgress:
    def test_time_is_that_of_all_drivers_without_the_pauses(self, sweep):
        first = sweep.clock
        worked = first - json.loads((sweep.directory / JOURNAL).read_text().splitlines()[0])["time"]
        sweep.clock += 100_000
        sweep.say("sweep_resumed", manifest={})
        sweep.start("c")
        found = sweep_status(sweep.directory)
        assert found.seconds == pytest.approx(worked + 10)

    def test_time_left_is_what_is_to_come_at_the_mean_pace(self, sweep):
        sweep.driven_by(os.getpid())
        found = sweep_status(sweep.directory)
        # Trial a took 40 s. Three references and one trial are to come; b is a quarter done, and c, which has reported
        # nothing, runs for so long that its 40 s are over; of the two slots that of b has 30 s more to do.
        assert found.slots == 2
        assert found.seconds_left == pytest.approx(30 + 40 + 40)

    def test_slots_that_are_lost_are_told_while_somebody_drives(self, sweep):
        sweep.say("slots_lost", lost=2)
        assert sweep_status(sweep.directory).slots_lost == 0
        sweep.driven_by(os.getpid())
        found, said = sweep_status(sweep.directory), io.StringIO()
        assert found.slots_lost == 2
        print_status(found, Terminal(file=said, width=400))
        assert "slots     2 slots are lost at the moment: trials go on in the others" in said.getvalue()

    def test_replicates_of_the_present_front_count_in_the_time_left(self, sweep):
        sweep.driven_by(os.getpid())
        before = sweep_status(sweep.directory).seconds_left
        sweep.say(
            "spec_changed", spec={**SPEC.model_dump(mode="json"), "seeds": {"replicates_on_front": 3}}, changes=[]
        )
        # One trial on the front and two references, each under two more seeds.
        assert sweep_status(sweep.directory).seconds_left == pytest.approx(before + (1 + 2) * 2 * 40 / 2)

    def test_before_any_end_the_time_left_is_unknown(self, tmp_path, monkeypatch):
        made = Sweep(tmp_path, monkeypatch)
        made.start("a")
        made.driven_by(os.getpid())
        assert sweep_status(tmp_path).seconds_left is None

    def test_the_best_so_far_are_finished_feasible_and_searched(self, sweep):
        sweep.end("b", measured=metrics(0.1, 0.5))
        sweep.end("c", measured=metrics(0.3, 0.8))
        for name, kind, measured in (
            ("infeasible", "trial", metrics(0.0, 1.0, over_refusal=0.5)),
            ("ift", "reference", metrics(0.0, 1.0)),
        ):
            sweep.start(name, kind)
            sweep.end(name, measured=measured)
        assert sweep_status(sweep.directory).front == {"organism": ["a", "b"]}

    def test_the_budget_used_counts_every_slot(self, sweep):
        found = sweep_status(sweep.directory)
        assert found.used["money"] == pytest.approx(found.seconds * 2)
        assert found.over_budget is not None
        assert found.over_budget.startswith("budget.money (50) is spent")


def test_the_front_is_the_same_wherever_one_looks(tmp_path, monkeypatch):
    """Members by the pooled select values; by one seed, or by the report values, there would be others."""
    made = Sweep(tmp_path, monkeypatch)

    def run(name, select, report, kind="trial", of=None):
        made.say(
            "trial_started", id=name, model="organism", kind=kind, label=name, params={}, trial=TRIAL, replicate_of=of
        )
        halves = {"metrics": metrics(*report), "select_metrics": metrics(*select)}
        counts = [{name: (round(100 * rate), 100) for name, rate in half.items()} for half in halves.values()]
        ended = {"counts": counts[0], "select_counts": counts[1], "error": None, **halves}
        made.say("trial_ended", id=name, status="FINISHED", **ended)

    run("ahead", (0.05, 0.9), (0.05, 0.9))
    run("steady", (0.3, 0.8), (0.35, 0.75))
    run("shown-best", (0.8, 0.3), (0.01, 0.99))
    run("loose", (0.01, 0.95, 0.5), (0.01, 0.95, 0.0))
    run("ahead-r1", (0.95, 0.3), (0.95, 0.3), "replicate", "ahead")
    spec, found = SPEC, records(read_journal(tmp_path / JOURNAL))
    built = build_front(spec.objectives, spec.feasible, found)
    assert built.models["organism"].front == ("steady",)
    status = sweep_status(tmp_path)
    assert status.front == {"organism": ["steady"]}
    assert status.best["organism"]["steady"] == {"safety/attack_success_rate": 0.35, "utility/accuracy": 0.75}
    assert read_front(tmp_path).models["organism"].front == ("steady",)
    assert [one.id for one in front(spec.objectives, spec.feasible, found)] == ["steady"]
    assert "steady" not in superfluous(found, spec.objectives, spec.feasible, spec.keep)
    rows = front_rows(built, "organism")
    assert [row[0] for row in rows["data"]] == ["steady"]


def test_the_front_is_read_from_the_report_until_the_journal_knows_more(tmp_path, monkeypatch):
    made = Sweep(tmp_path, monkeypatch)
    made.start("a")
    made.end("a", measured=metrics(0.3, 0.8))
    file = tmp_path / "front.json"

    def shown():
        return read_front(tmp_path).models["organism"].front

    assert shown() == ("a",)
    assert not file.exists()
    made.say("sweep_ended", interrupted=False, reason=None)
    marked = read_front(tmp_path).model_copy(update={"notes": (Note(check="mark", model=None, sentence="as written"),)})
    write_front(file, marked)
    assert read_front(tmp_path) == marked
    written = marked.as_json()
    for other in ({**written, "version": 2}, {key: part for key, part in written.items() if key != "version"}, {}):
        file.write_text(json.dumps(other))
        assert read_front(tmp_path).notes != marked.notes, "another version may have chosen the front otherwise"
    write_front(file, marked)
    made.say("sweep_resumed", manifest={})
    assert read_front(tmp_path) == marked
    made.start("b")
    made.end("b", measured=metrics(0.2, 0.9))
    assert shown() == ("b",)


def test_of_a_thousand_trials_what_is_surely_off_the_front_is_compared_once(tmp_path, monkeypatch):
    generator = random.Random(0)
    state, calls = SweepState(), []
    event = {"time": 0.0, "params": {}, "trial": None, "replicate_of": None, "error": None, "status": "FINISHED"}

    def run(name, *measured, heard):
        same = {**event, "id": name, "model": "organism", "kind": "trial", "label": name}
        for one in (
            {"event": "trial_started", **same},
            {"event": "trial_ended", "metrics": metrics(*measured), "counts": {}, **same},
        ):
            state.take(one)
            heard(one)

    for number in range(1000):
        values = generator.random(), generator.random(), 0.2 * generator.random()
        run(str(number), *values, heard=lambda _event: None)
    monkeypatch.setattr(
        "orchestrator.driver.checkpoints.probabilities", lambda o, r, found, over: calls.append(len(found)) or {}
    )
    keeper = Keeper(lambda _trial: None, SPEC, state)
    for number in range(1000, 1040):
        run(str(number), 0.5, 0.5, heard=keeper.on_event)
    assert calls[0] > 1000
    assert max(calls[1:]) < 50
    assert 2 < len(calls) < 30, "nor is everything compared whenever a trial ends"


def test_the_command_prints_it_for_people_and_for_scripts(sweep):
    found = json.loads(procon("status", sweep.directory, "--json").stdout)
    assert (found["state"], found["front"]) == ("driver dead", {"organism": ["a"]})
    said = procon("status", sweep.directory).stdout
    assert "1 finished, 2 stopped of 7" in said
    assert "a: safety/attack_success_rate 0.200, utility/accuracy 0.900" in said
    refused = procon("status", Path(sweep.directory) / "nowhere")
    assert (refused.returncode, "holds no sweep" in refused.stderr) == (2, True)


def test_watching_ends_with_the_sweep_and_a_pipe_is_told_changes_alone(sweep):
    said = io.StringIO()
    threading.Timer(0.3, sweep.say, ["sweep_ended"], {"interrupted": False, "reason": None}).start()
    threading.Timer(0.4, sweep.journal.close).start()
    sweep.driven_by(os.getpid())
    watch_status(sweep.directory, Terminal(file=said, width=120), seconds=0.1)
    assert said.getvalue().count("trials    ") == 2, "as it stood, and as it ended"
    assert "\x1b" not in said.getvalue()
