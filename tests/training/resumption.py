"""Short trainings with checkpoints, as functions that ranks and processes can run."""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tiny import held_as, random_direction, random_samples, references_of, sums_of, tiny_llama
from trajectories import trial

from training.constraints import build_constraint
from training.distributed.process import start_process
from training.errors import TrainingError
from training.loop.checkpointing import Checkpointing
from training.loop.forks import Fork, Forking
from training.loop.train import StepReport, TrainingSet, TrialStopped
from training.loop.tuning import tuned
from training.models.loading import DTYPES

TIMING = ("train/tokens_per_second", "train/seconds")


def run(
    changes: dict[str, Any],
    where: Checkpointing | None = None,
    stop: int | None = None,
    meanwhile: Callable[[int], None] = lambda _step: None,
) -> dict[str, Any]:
    """Reports by step, and the trained weights' fingerprint; ``stop`` ends it after that step's report.

    ``meanwhile`` is called with the step of every report.
    """
    config, samples, direction = trial(**changes), random_samples(60), random_direction()
    device = start_process()
    model = held_as(config, tiny_llama().to(DTYPES[config.precision]))
    constraint = build_constraint(config.constraint, direction, device)
    data = TrainingSet(samples, 40, references_of(model, samples, direction))
    reports: list[StepReport] = []

    def report(made: StepReport) -> bool:
        reports.append(made)
        meanwhile(made.step)
        return made.step == stop

    weights: list[float] = []
    try:
        with tuned(model, config, data, constraint, report, where) as (trained, _):
            weights = sums_of(trained, trained=True)
    except TrialStopped:
        pass
    return {
        "steps": [made.step for made in reports],
        "metrics": [
            {name: value for name, value in made.scores.metrics.items() if name not in TIMING} for made in reports
        ],
        "weights": weights,
    }


def run_case(argument: dict[str, Any]) -> dict[str, Any]:
    """:func:`run` from JSON; the text of an error of training instead where there is one."""
    where = argument.get("where")
    settings = None if where is None else Checkpointing(**{**where, "directory": Path(where["directory"])})
    if settings is not None:
        settings = replace(settings, forking=_forking(argument))
    try:
        return run(argument["changes"], settings, argument.get("stop"))
    except TrainingError as error:
        return {"error": str(error)}


def _forking(argument: dict[str, Any]) -> Forking:
    keeps, fork = argument.get("keeps"), argument.get("fork")
    start = None if fork is None else Fork(Path(fork["directory"]), fork["step"])
    if keeps is None:
        return Forking(start=start)
    return Forking(frozenset(keeps["points"]), Path(keeps["directory"]), start)


def run_cases(arguments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """:func:`run_case` of each."""
    return [run_case(argument) for argument in arguments]


def die(moment: str) -> None:
    """Have this process killed at ``moment`` of the second checkpoint it writes."""

    def kill(*_arguments: Any, **_settings: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if moment == "half a file is written":
        original = torch.save

        def save(state: Any, file: Any, *arguments: Any, **settings: Any) -> None:
            original(state, file, *arguments, **settings)
            if "step-00000004" in str(getattr(file, "name", file)):
                Path(getattr(file, "name", file)).write_bytes(b"half a file")
                kill()

        torch.save = save
        return
    calls: list[int] = []
    original_replace = os.replace

    def replace(source: Any, target: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            kill()
        original_replace(source, target)

    assert moment == "latest has not moved"
    os.replace = replace


if __name__ == "__main__":
    import json

    die(sys.argv[1])
    run_case(json.loads(sys.argv[2]))
