"""What really dies: the driver, a slot's worker, a trial's actor. Nothing that ended is lost, nothing runs twice."""

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient
from small_sweeps import Cluster, Run, processes, small_sweep

from orchestrator.record.events import Event
from orchestrator.record.journal import read_journal, records
from orchestrator.record.trials import Status, TrialRecord
from sweeps.statistics.intervals import wilson_interval

pytestmark = pytest.mark.xdist_group("sweeps")
Start = Callable[..., Run]
GREEDY = {"rungs": [0.5], "minimum": 2, "reduction": 4.0, "confidence": 0.0}
"""Prunes as much as it can."""
SAFETY_ONLY = [{"metric": f"safety/{rate}", "goal": "minimize"} for rate in ("attack_success_rate", "compliance_rate")]
"""Both are foretold by the refusal log-odds, so that of two trials one always dominates the other."""


def ends(events: Sequence[Event]) -> list[str]:
    return [event["id"] for event in events if event["event"] == "trial_ended"]


def found(run: Run) -> list[TrialRecord]:
    return records(read_journal(run.directory / "journal.jsonl"))


def kill_driver(run: Run) -> None:
    """SIGKILL, and wait until the local Ray has noticed that its driver is gone; its agents take a minute longer."""
    children = psutil.Process(run.process.pid).children(recursive=True)
    working = [process for process in children if "Agent" not in process.name()]
    run.process.kill()
    run.process.wait()
    _, alive = psutil.wait_procs(working, timeout=90)
    assert not alive, f"Ray outlived its driver: {alive}"


@pytest.fixture(scope="module")
def killed(start_sweep: Start, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    """A sweep with greedy pruning whose driver was killed, and what it had recorded."""
    folder = tmp_path_factory.mktemp("killed")
    trial = {**small_sweep()["trial"], "log_every": 2, "checkpoint_every": 4}
    one_slot = {"max_concurrent": 1}
    spec = small_sweep(trial=trial, trials=6, pruning=GREEDY, objectives=SAFETY_ONLY, resources=one_slot)
    run = start_sweep(folder, spec)
    run.wait_for(lambda events: len(ends(events)) >= 4)
    kill_driver(run)
    return folder, run.events


@pytest.fixture(scope="module")
def resumed(start_sweep: Start, cluster: Cluster, killed: tuple[Path, list[Event]]) -> tuple[Run, str]:
    """The same sweep at its end, on another Ray."""
    folder, _ = killed
    run = start_sweep(folder, None, "resume", "sweeps/out", *cluster.join)
    code, output = run.finish()
    assert code == 0, output
    return run, output


def test_a_resumed_sweep_keeps_what_ended_and_runs_the_rest_once(
    killed: tuple[Path, list[Event]], resumed: tuple[Run, str]
) -> None:
    run, output = resumed
    before = {event["id"]: event for event in killed[1] if event["event"] == "trial_ended"}
    after = {event["id"]: event for event in run.events if event["event"] == "trial_ended"}
    assert all(after[trial] == event for trial, event in before.items()), "what had ended must stand as it was"
    assert set(Counter(ends(run.events)).values()) == {1}, "no trial may end twice"
    assert Counter(record.kind for record in found(run)) == {"trial": 6, "reference": 3}
    assert {record.status for record in found(run)} <= {Status.FINISHED, Status.PRUNED}
    front = json.loads((run.directory / "front.json").read_text())["models"]["small"]
    assert len(front["trials"]) == 6
    assert any(trial["on_front"] for trial in front["trials"])
    assert "Pareto front of small" in output


def test_a_resumed_sweep_continues_the_same_mlflow_runs(resumed: tuple[Run, str]) -> None:
    run, _ = resumed
    client = MlflowClient(f"sqlite:///{run.directory.parent}/mlflow.db")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    names = Counter(one.info.run_name for one in runs)
    assert set(names.values()) == {1}, names
    assert len(runs) == 1 + 9
    by_status = {"FINISHED": "FINISHED", "PRUNED": "KILLED"}
    for record in found(run):
        (one,) = [one for one in runs if one.data.tags.get("procon.trial") == record.id]
        assert one.info.status == by_status[record.status.value], record


def test_a_dominated_trial_ends_at_its_rung_with_a_reason(resumed: tuple[Run, str]) -> None:
    run, _ = resumed
    pruned = [record for record in found(run) if record.status is Status.PRUNED]
    assert pruned, "the greedy rule must have ended some"
    for record in pruned:
        assert [rung.step for rung in record.rungs] == [6]
        assert record.history[-1][0] == 6, "not a step more than up to the rung"
        assert "dominated by small-" in (record.reason or "")
        assert not record.report.metrics
        assert not (run.directory / "checkpoints" / record.id).exists()
    kept = [record for record in found(run) if record.kind == "trial" and record.status is Status.FINISHED]
    assert all(record.rungs for record in kept)
    for record in found(run):
        if record.kind == "reference" and record.trial is not None:
            assert len(record.rungs) > 1
            assert {"direction/cosine/layer_00", "safety/refusal_log_odds"} <= record.rungs[0].scores.metrics.keys()


@pytest.mark.slow
def test_extending_a_finished_sweep_adds_trials_in_a_changed_space(
    start_sweep: Start, cluster: Cluster, resumed: tuple[Run, str]
) -> None:
    first, _ = resumed
    before = first.events
    arguments = ("--trials", "2", "--set", "search.constraint.alpha.low=1.0", "--set", "pruning=null")
    refused = start_sweep(first.directory.parent.parent, None, "extend", "sweeps/out", *arguments)
    code, output = refused.finish()
    assert code == 2
    assert "search.constraint.alpha.low: 0.003 -> 1.0" in output
    accepted = (*arguments, "--accept", *cluster.join)
    run = start_sweep(first.directory.parent.parent, None, "extend", "sweeps/out", *accepted)
    code, output = run.finish()
    assert code == 0, output
    assert run.events[: len(before)] == before
    (change,) = [event for event in run.events if event["event"] == "spec_changed"]
    assert {"field": "search.constraint.alpha.low", "before": 0.003, "now": 1.0} in change["changes"]
    added = [record for record in found(run) if record.kind == "trial"][6:]
    assert {record.id for record in added} == {"small-6", "small-7"}
    assert all(record.status is Status.FINISHED and record.params["constraint.alpha"] >= 1.0 for record in added)


@pytest.mark.slow
def test_a_stop_request_ends_the_sweep_and_resume_goes_on(start_sweep: Start, tmp_path: Path) -> None:
    trial = {**small_sweep()["trial"], "steps": 250, "log_every": 1, "checkpoint_every": 4}
    run = start_sweep(tmp_path, small_sweep(trial=trial, trials=1, resources={"max_concurrent": 1}))
    run.wait_for(lambda events: sum(event["event"] == "trial_reported" for event in events) > 10)
    second = start_sweep(tmp_path, None, "resume", "sweeps/out")
    code, output = second.finish(60)
    assert code == 2
    assert "is in use: another driver" in output
    stop = start_sweep(tmp_path, None, "stop", "sweeps/out")
    assert stop.finish(120) == (0, "sweeps/out has stopped; go on with: procon resume sweeps/out\n")
    code, output = run.finish(60)
    assert "procon stop asked for it" in output
    assert Status.STOPPED in {record.status for record in found(run)}
    resumed = start_sweep(tmp_path, None, "resume", "sweeps/out")
    code, output = resumed.finish()
    assert code == 0, output
    assert [record.status for record in found(run)] == [Status.FINISHED] * 4
    notes = [event["text"] for event in run.events if event["event"] == "note"]
    assert any("went on from its last checkpoint" in note for note in notes), notes


@pytest.mark.slow
def test_a_killed_trial_actor_is_started_again(start_sweep: Start, tmp_path: Path) -> None:
    trial = {**small_sweep()["trial"], "steps": 60, "log_every": 1}
    run = start_sweep(tmp_path, small_sweep(trial=trial, trials=1, resources={"max_concurrent": 1}))
    run.wait_for(lambda events: sum(event["event"] == "trial_reported" for event in events) > 10)
    actors = processes(run, "ImplicitFunc")
    assert actors
    for actor in actors:
        actor.kill()
    code, output = run.finish()
    assert code == 0, output
    assert [record.status for record in found(run)] == [Status.FINISHED] * 4
    assert set(Counter(ends(run.events)).values()) == {1}
    assert all([step for step, _ in record.history] == list(range(1, 61)) for record in found(run) if record.history)


def random_kills(prune: bool) -> dict[str, Any]:
    """A sweep whose proposals are given beforehand, so that two of them run the same trials."""
    trial = {**small_sweep()["trial"], "steps": 24, "log_every": 2, "checkpoint_every": 4}
    spec = small_sweep(trial=trial, trials=4, searcher={"sampler": "qmc"})
    return {**spec, "pruning": GREEDY, "objectives": SAFETY_ONLY} if prune else spec


@pytest.fixture(scope="module")
def uninterrupted(start_sweep: Start, tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], Run]:
    """The same sweep, with or without pruning, that nobody disturbed."""
    done: dict[bool, Run] = {}

    def run(prune: bool) -> Run:
        if prune not in done:
            done[prune] = start_sweep(tmp_path_factory.mktemp("uninterrupted"), random_kills(prune))
            code, output = done[prune].finish()
            assert code == 0, output
        return done[prune]

    return run


def front(run: Run) -> dict[str, dict[str, Any]]:
    """The front's members by id."""
    trials = json.loads((run.directory / "front.json").read_text())["models"]["small"]["trials"]
    return {trial["id"]: trial for trial in trials if trial["on_front"]}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_kills_at_random_lose_nothing(
    start_sweep: Start, uninterrupted: Callable[[bool], Run], tmp_path: Path, seed: int
) -> None:
    """Driver, slot worker and trial actor are killed at random moments of one sweep; then it is resumed to its end."""
    chance, prune = random.Random(seed), seed % 2 == 0
    undisturbed = uninterrupted(prune)
    run = start_sweep(tmp_path, random_kills(prune))
    ended: dict[str, Any] = {}
    for victim in chance.sample(["driver", "RayTrainWorker", "ImplicitFunc", "driver"], 4):
        run.wait_for(lambda events: any(event["event"] == "trial_reported" for event in events))
        time.sleep(chance.uniform(0.0, 6.0))
        if run.process.poll() is not None:
            break
        if victim == "driver":
            kill_driver(run)
            now = {event["id"]: event for event in run.events if event["event"] == "trial_ended"}
            assert all(now[trial_id] == event for trial_id, event in ended.items())
            ended = now
            run = start_sweep(tmp_path, None, "resume", "sweeps/out")
        elif there := processes(run, victim):
            os.kill(chance.choice(there).pid, signal.SIGKILL)
    code, output = run.finish()
    assert code == 0, output
    assert set(Counter(ends(run.events)).values()) == {1}
    assert Counter(record.kind for record in found(run)) == {"trial": 4, "reference": 3}
    assert {record.status for record in found(run)} <= {Status.FINISHED, Status.PRUNED}
    before, after = ({record.id: record for record in found(one)} for one in (undisturbed, run))
    for trial_id, record in after.items():
        assert record.params == before[trial_id].params
        for name, (successes, total) in record.report.counts.items():
            low, high = wilson_interval(successes, total)
            if name in before[trial_id].report.counts:  # which of two gets to its rung first decides who is pruned
                other_low, other_high = wilson_interval(*before[trial_id].report.counts[name])
                assert max(low, other_low) <= min(high, other_high), (trial_id, name)
    if not prune:
        assert front(run).keys() == front(undisturbed).keys()
