"""What changes over the optimizer steps: constraint strength and learning rate. Pure functions of the step."""

import math
from typing import Literal

from training.config import TrialConfig

_FLOOR = 0.1
"""Share of the peak learning rate at which cosine and linear decay end."""


def alpha_at(step: int, *, alpha: float, warmup_steps: int | Literal["all"], alpha_after: float) -> float:
    """Constraint strength in optimizer step ``step`` (from 0): two hard stages (arXiv 2509.06795, section on warm-up).

    Args:
        step: optimizer step, from 0.
        alpha: strength of the first ``warmup_steps`` steps.
        warmup_steps: their number; ``all`` keeps ``alpha`` throughout.
        alpha_after: strength of the steps that follow.
    """
    return alpha if warmup_steps == "all" or step < warmup_steps else alpha_after


def learning_rate_at(step: int, trial: TrialConfig) -> float:
    """Learning rate in optimizer step ``step`` (from 0): a linear rise over ``lr_warmup_steps``, then the decay."""
    rise = min(1.0, (step + 1) / max(1, trial.lr_warmup_steps))
    progress = max(0, step - trial.lr_warmup_steps) / max(1, trial.steps - trial.lr_warmup_steps)
    if trial.lr_schedule == "cosine":
        decay = _FLOOR + (1 - _FLOOR) * 0.5 * (1 + math.cos(math.pi * progress))
    elif trial.lr_schedule == "linear":
        decay = 1 - (1 - _FLOOR) * progress
    else:
        decay = 1.0
    return trial.learning_rate * rise * decay
