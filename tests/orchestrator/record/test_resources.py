"""What a sweep takes of its machine, and gives back: the dead-locks it must not have, budgets, replicates, memory."""

import contextlib
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from small_sweeps import Run, small_sweep

from orchestrator.record.journal import records
from orchestrator.record.trials import Status

Start = Callable[..., Run]


@pytest.mark.slow
def test_neither_dead_lock_of_tune_over_train_happens(start_sweep: Start, tmp_path: Path) -> None:
    """Tune trials that asked for a share of a CPU would wait for ever for a slot that takes all, and the slot for them;
    and without Ray's dashboard the placement group of a trial that was ended leaks, and the next never starts."""
    greedy = {"rungs": [0.5], "minimum": 2, "reduction": 6.0, "confidence": 0.0}
    rates = ("attack_success_rate", "compliance_rate")
    spec = small_sweep(
        trial={**small_sweep()["trial"], "steps": 4, "log_every": 1},
        trials=7,
        pruning=greedy,
        objectives=[{"metric": f"safety/{rate}", "goal": "minimize"} for rate in rates],
        resources={"cpus_per_worker": os.cpu_count()},
    )
    run = start_sweep(tmp_path, spec)
    code, output = run.finish()
    assert code == 0, output
    statuses = Counter(record.status for record in records(run.events) if record.kind == "trial")
    assert statuses[Status.PRUNED] >= 2, statuses
    assert statuses[Status.PRUNED] + statuses[Status.FINISHED] == 7


@pytest.mark.slow
def test_front_and_references_are_repeated_under_new_seeds_and_pooled(start_sweep: Start, tmp_path: Path) -> None:
    trial = {**small_sweep()["trial"], "steps": 4}
    run = start_sweep(tmp_path, small_sweep(trial=trial, trials=2, seeds={"replicates_on_front": 2}))
    code, output = run.finish()
    assert code == 0, output
    found = records(run.events)
    repeated = [record for record in found if record.kind == "replicate"]
    assert {record.replicate_of for record in repeated} >= {"small-ift", "small-ift_safety"}
    front = json.loads((run.directory / "front.json").read_text())["models"]["small"]
    by_id = {entry["id"]: entry for entry in front["trials"]}
    assert set(by_id) == {record.id for record in found if record.kind == "trial"}, (
        "replicates are no trials of their own"
    )
    for record in repeated:
        original = next(one for one in found if one.id == record.replicate_of)
        assert record.params == original.params
        assert record.seed != original.seed
        entry = by_id[original.id] if original.kind == "trial" else front["reference"][original.label]
        assert entry["replicates"] == 2
        rate = "utility/accuracy"
        both = [one.report.metrics[rate] for one in (record, original)]
        assert entry["metrics"][rate] == pytest.approx(sum(both) / 2)


@pytest.mark.slow
def test_a_spent_budget_ends_the_sweep_and_says_so(start_sweep: Start, tmp_path: Path) -> None:
    trial = {**small_sweep()["trial"], "steps": 4000, "log_every": 1}
    run = start_sweep(tmp_path, small_sweep(trial=trial, budget={"hours": 0.01}))
    code, output = run.finish()
    assert "budget.hours (0.01) is spent" in output
    assert (run.directory / "front.json").exists()
    assert code == 0, output
    assert {record.status for record in records(run.events)} <= {Status.FINISHED, Status.STOPPED}


@pytest.mark.slow
def test_thirty_trials_leave_a_worker_as_large_as_five(start_sweep: Start, tmp_path: Path) -> None:
    trial = {**small_sweep()["trial"], "steps": 6}
    run = start_sweep(tmp_path, small_sweep(trial=trial, trials=30, pruning=None, resources={"max_concurrent": 1}))
    sizes: dict[int, int] = {}

    def measured(events: list[dict[str, object]]) -> bool:
        ended = sum(event["event"] == "trial_ended" for event in events)
        for process in psutil.Process(run.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it may end while we look
                if "RayTrainWorker" in " ".join(process.cmdline()):
                    sizes[ended] = process.memory_info().rss
        return ended >= 32

    run.wait_for(measured)
    code, output = run.finish()
    assert code == 0, output
    early = max(size for ended, size in sizes.items() if 5 <= ended <= 10)
    late = min(size for ended, size in sizes.items() if ended >= 28)
    assert late - early < 60 * 2**20, {ended: size >> 20 for ended, size in sizes.items()}
