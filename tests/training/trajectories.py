"""Short trainings of a tiny model, as a function that ranks can run."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from tiny import held_as, random_direction, random_samples, references_of, sums_of, tiny_llama

from training.config import TrialConfig
from training.constraints import build_constraint
from training.distributed.process import start_process
from training.loop.checkpointing import Checkpointing
from training.loop.scaling import Tuned
from training.loop.train import Rungs, StepReport, TrainingSet
from training.loop.tuning import tuned
from training.models.loading import DTYPES


def trial(**changes: Any) -> TrialConfig:
    settings = {
        "steps": 6,
        "batch_size": 8,
        "learning_rate": 1e-2,
        "log_every": 1,
        "safety_share": 0.25,
        "constraint": {"alpha": 0.1},
        "tuning": {"type": "lora", "rank": 4},
    }
    return TrialConfig.model_validate({**settings, **changes})


def tuned_tiny(
    changes: dict[str, Any], where: Checkpointing | None = None, rungs: Rungs | None = None
) -> AbstractContextManager[Tuned]:
    """A tiny model fine-tuned with ``changes`` of :func:`trial`, in float32, in a process that is ready."""
    config, samples, direction = trial(**changes), random_samples(60), random_direction()
    model = held_as(config, tiny_llama())
    constraint = build_constraint(config.constraint, direction, torch.device("cpu"))
    data = TrainingSet(samples, 40, references_of(model, samples, direction))
    return tuned(model, config, data, constraint, lambda _report: False, where, rungs)


def trajectory(changes: dict[str, Any]) -> dict[str, Any]:
    """Losses and penalties by step, and a checksum of the weights that came out."""
    config, samples, direction = trial(**changes), random_samples(60), random_direction()
    device = start_process()
    model = held_as(config, tiny_llama().to(DTYPES[config.precision]))
    constraint = build_constraint(config.constraint, direction, device)
    data = TrainingSet(samples, 40, references_of(model, samples, direction))
    reports: list[StepReport] = []
    with tuned(model, config, data, constraint, lambda report: bool(reports.append(report))) as (trained, _):
        weights = sum(sums_of(trained))
    return {
        "loss": [report.scores.metrics["train/loss"] for report in reports],
        "penalty": [report.scores.metrics["train/penalty"] for report in reports],
        "gradient_norm": [report.scores.metrics["train/gradient_norm"] for report in reports],
        "weights": weights,
    }


def trajectories(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """:func:`trajectory` of each case."""
    return [trajectory(case) for case in cases]
