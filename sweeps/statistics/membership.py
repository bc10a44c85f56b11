"""What can be said of a front's membership, of all trials at once: on it, off it, or that it cannot be told (pure)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from sweeps.statistics.pareto import Goal, on_fronts

Membership = Literal["on", "off", "open"]


def memberships(draws: ArrayLike, goals: Sequence[Goal], confidence: float = 0.95) -> list[Membership]:
    """Whether each trial is on the front, where all that is said is right together with probability ``confidence``.

    Statements are made in the order of how sure each is by itself, as long as the share of draws in which all of them
    hold is at least ``confidence``; the rest stays open. Draws are joint, so that luck which trials share, as that of
    the same prompts, makes nothing doubtful between them. One at a time, ten statements of 95 % each would be all
    right in no more than 60 %.

    Args:
        draws: ``[draws, trials, objectives]`` values that the trials may truly have; a NaN takes the trial off the
            front in that draw, as where it breaks a rule.
        goals: one per objective.
        confidence: of everything that is said, between 0 and 1.

    Returns:
        ``[trials]``.

    Raises:
        ValueError: the shapes do not match, or there is no draw.
    """
    member = on_fronts(draws, goals)
    chance = member.mean(axis=0)
    said = np.where(chance >= 0.5, member, ~member)  # [draws, trials]: whether the likelier statement holds
    sure = np.maximum(chance, 1 - chance)
    found: list[Membership] = ["open"] * member.shape[1]
    together = np.ones(len(member), dtype=np.bool_)
    for trial in np.argsort(-sure, kind="stable"):
        together = together & said[:, trial]
        if together.mean() < confidence:
            break
        found[int(trial)] = "on" if chance[trial] >= 0.5 else "off"
    return found
