"""Ray Tune keeps the actors of trials that end while nothing is proposed: the next trials start in them at once."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import cloudpickle, tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher
from small_sweeps import Cluster

from orchestrator.search.scheduler import keep_actors

TOGETHER = 2


class Keeping(FIFOScheduler):  # type: ignore[misc]
    def on_trial_add(self, controller: Any, trial: Any) -> None:
        if trial.config["number"] == 0:
            keep_actors(controller, trial, TOGETHER)


class Pausing(Searcher):  # type: ignore[misc]
    """Proposes nothing between two rounds of trials until all of the first have ended, as before replicates."""

    def __init__(self) -> None:
        super().__init__()
        self.proposed = self.running = 0

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.proposed == 3 * TOGETHER:
            return str(Searcher.FINISHED)
        if self.proposed % TOGETHER == 0 and self.running:
            return None
        self.proposed += 1
        self.running += 1
        return {"number": self.proposed - 1}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.running -= 1

    def save(self, checkpoint_path: str) -> None: ...

    def restore(self, checkpoint_path: str) -> None: ...


def say_who(config: dict[str, Any]) -> None:
    time.sleep(4.0 if config["number"] < TOGETHER else 0.5)  # both actors have started before a trial ends
    tune.report({"process": os.getpid(), "number": config["number"]})


@pytest.mark.xdist_group("sweeps")
def test_as_many_actors_are_kept_as_trials_run_at_once(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # as the Ray that is joined
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's workers cannot import this file
    ray.init(address=cluster.address, logging_level="ERROR")
    try:
        found = tune.Tuner(
            tune.with_resources(say_who, {"CPU": 0, "memory": 1}),
            tune_config=tune.TuneConfig(
                search_alg=Pausing(),
                scheduler=Keeping(),
                num_samples=-1,
                max_concurrent_trials=TOGETHER,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(verbose=0, storage_path=str(tmp_path)),
        ).fit()
    finally:
        ray.shutdown()
    by_round: dict[int, set[int]] = {}
    for result in found:
        assert result.metrics is not None
        by_round.setdefault(result.metrics["number"] // TOGETHER, set()).add(result.metrics["process"])
    assert [len(processes) for processes in by_round.values()] == [TOGETHER] * 3
    assert by_round[0] == by_round[1] == by_round[2], "a new process for every round"
