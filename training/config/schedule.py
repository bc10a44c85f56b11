"""What changes over the optimizer steps: constraint strength and learning rate. Pure functions of the step."""

import math
from typing import Literal

from training.config.strength import Strength
from training.config.trial import TrialConfig

_FLOOR = 0.1
"""Share of the peak learning rate at which cosine and linear decay end."""


def alpha_at(
    step: int,
    *,
    alpha: float,
    warmup_steps: int | Literal["all"],
    alpha_after: float,
    decay: Literal["step", "linear"] = "step",
) -> float:
    """Constraint strength in optimizer step ``step`` (arXiv 2509.06795, section on warm-up).

    Args:
        step: optimizer step, from 0.
        alpha: strength of the first ``warmup_steps`` steps, or where it begins.
        warmup_steps: their number; ``all`` keeps ``alpha`` throughout.
        alpha_after: strength of the steps that follow.
        decay: ``step`` changes from one to the other at once; ``linear`` in a straight line that begins at step 0 and
            ends at step ``warmup_steps``.
    """
    if warmup_steps == "all":
        return alpha
    if step >= warmup_steps:
        return alpha_after
    return alpha if decay == "step" else alpha + (alpha_after - alpha) * step / warmup_steps


def constraint_strength(step: int, trial: TrialConfig) -> float:
    """Strength of the trial's constraint in optimizer step ``step`` (from 0); 0 for one without a penalty."""
    held = trial.constraint
    if not isinstance(held, Strength):
        return 0.0
    whole = held.warmup_steps == "all" and held.decay == "linear"
    return alpha_at(
        step,
        alpha=held.alpha,
        warmup_steps=trial.total_steps if whole else held.warmup_steps,
        alpha_after=held.alpha_after,
        decay=held.decay,
    )


def restarts_at(trial: TrialConfig) -> int | None:
    """The optimizer step (from 0) before which optimizer and learning rate begin anew; None where they never do."""
    held = trial.constraint
    if not isinstance(held, Strength) or not held.restart or held.warmup_steps == "all":
        return None
    return held.warmup_steps if 0 < held.warmup_steps < trial.total_steps else None


def learning_rate_at(step: int, trial: TrialConfig) -> float:
    """Learning rate in optimizer step ``step`` (from 0): a linear rise over ``lr_warmup_steps``, then the decay.

    Where the constraint asks for a restart, each of the two stages has a rise and a decay of its own.
    """
    boundary, steps = restarts_at(trial), trial.total_steps
    if boundary is not None:
        step, steps = (step, boundary) if step < boundary else (step - boundary, steps - boundary)
    rise = min(1.0, (step + 1) / max(1, trial.lr_warmup_steps))
    progress = max(0, step - trial.lr_warmup_steps) / max(1, steps - trial.lr_warmup_steps)
    if trial.lr_schedule == "cosine":
        decay = _FLOOR + (1 - _FLOOR) * 0.5 * (1 + math.cos(math.pi * progress))
    elif trial.lr_schedule == "linear":
        decay = 1 - (1 - _FLOOR) * progress
    else:
        decay = 1.0
    return trial.learning_rate * rise * decay
