"""How far two trainings are one and the same, by their settings alone (pure)."""

import json
from itertools import zip_longest
from typing import Any

from training.config.constraint import PluginConstraint, RandomDirectionConstraint
from training.config.schedule import constraint_strength, learning_rate_at, restarts_at
from training.config.strength import Strength
from training.config.trial import TrialConfig

WINDOW = 8
"""Batches that are made out of the same samples: the order stays random beyond them."""
_OVER_STEPS = ("steps", "epochs", "learning_rate", "lr_schedule", "lr_warmup_steps")
"""Fields of a trial that act through learning rate and number of steps alone, which are compared step by step."""
_STRENGTH = ("alpha", "warmup_steps", "warmup_epochs", "alpha_after", "decay", "warmup", "restart")
"""Fields of a penalty that act through its strength, the restart and the number of steps alone."""


def shared_steps(one: TrialConfig, other: TrialConfig) -> int:
    """The largest optimizer step up to which both train identically, given the same model, data and workers.

    Weights, optimizer states and random states are then the same after that step; 0 where they need not be after the
    first. Every field counts, those that are yet to come included, but for those that act through strength, learning
    rate and samples of each step, which are compared for what they are.
    """
    if beginning(one) != beginning(other):
        return 0
    ends = [end for end in (restarts_at(one), restarts_at(other)) if end is not None]
    if restarts_at(one) == restarts_at(other):
        ends = []
    last = min(one.total_steps, other.total_steps, _shared_batches(one, other), *ends)
    for step in range(last):
        if constraint_strength(step, one) != constraint_strength(step, other):
            return step
        if learning_rate_at(step, one) != learning_rate_at(step, other):
            return step
    return last


def beginning(trial: TrialConfig) -> str:
    """What two trials that share any step have in common; others do not."""
    first = constraint_strength(0, trial), learning_rate_at(0, trial)
    return json.dumps([_apart(trial), trial.constraint.active, *first], sort_keys=True)


def stages(trial: TrialConfig) -> list[int]:
    """Optimizer steps of each part of a trial that draws its samples anew: one, or two round a restart."""
    boundary = restarts_at(trial) or 0
    return [steps for steps in (boundary, trial.total_steps - boundary) if steps]


def _shared_batches(one: TrialConfig, other: TrialConfig) -> int:
    """Steps whose batches are the same.

    Of trainings of different length these are whole windows, and none where the share of safety samples is spread over
    the length.
    """
    shared = 0
    for first, second in zip_longest(stages(one), stages(other), fillvalue=0):
        if first != second:
            mixed = one.safety_share > 0 or bool(one.safety_count)
            return shared + (0 if mixed else min(first, second) // WINDOW * WINDOW)
        shared += first
    return shared


def _apart(trial: TrialConfig) -> dict[str, Any]:
    """Everything in which the two must be equal."""
    settings = trial.model_dump(mode="json", exclude=set(_OVER_STEPS))
    held = trial.constraint
    matched = isinstance(held, RandomDirectionConstraint) and held.strength == "matched"  # measured for each trial
    if isinstance(held, Strength) and not isinstance(held, PluginConstraint) and not matched:
        settings["constraint"] = {
            name: value for name, value in settings["constraint"].items() if name not in _STRENGTH
        }
    return settings
