"""Who is on a model's front, who is not, and of whom that cannot be told, all said together with 95 % (pure).

The front is chosen by the select prompts; whether that can be relied on is asked of the report prompts, by which nobody
chose. Draws are paired by prompt and training seed (:mod:`orchestrator.front.resampled`), since all trials answer the
same prompts.
"""

import math
from collections.abc import Collection, Sequence

import numpy as np

from orchestrator.front.membership import has_all
from orchestrator.front.pooling import Pooled
from orchestrator.front.resampled import Array, Resampled
from sweeps.goals.objectives import FeasibilityRule, Objective
from sweeps.statistics.membership import Membership, memberships


def settled(
    objectives: Sequence[Objective],
    rules: Sequence[FeasibilityRule],
    finished: Sequence[Pooled],
    near: Collection[str],
    resampled: Resampled,
) -> dict[str, Membership]:
    """What can be said of each trial's membership, by id; empty where nothing is known of the error of an objective.

    Args:
        objectives: what the front trades off.
        rules: bounds that a member must keep.
        finished: trials that have finished with every objective, and scaled models.
        near: ids of those that could be on the front; the others are off it.
        resampled: draws of what trials may truly score.
    """
    close = [one for one in finished if one.record.id in near and has_all(objectives, one.report.metrics)]
    drawn = [_draws(one, objectives, rules, resampled) for one in close]
    known = [one for one in drawn if one is not None]
    if len(known) < len(drawn) or not known:
        return {}
    found = memberships(np.stack(known, axis=1), [objective.goal for objective in objectives])
    told: dict[str, Membership] = {one.record.id: "off" for one in finished}
    return told | {one.record.id: state for one, state in zip(close, found, strict=True)}


def _draws(
    one: Pooled, objectives: Sequence[Objective], rules: Sequence[FeasibilityRule], resampled: Resampled
) -> Array | None:
    """``[draws, objectives]``, NaN where a rule is broken; None where an objective's error is not known."""
    columns = [resampled.draws(one.seeds, objective.metric) for objective in objectives]
    if any(column is None for column in columns):
        return None
    values = np.stack([column for column in columns if column is not None], axis=1).astype(np.float64)
    for rule in rules:
        drawn = resampled.draws(one.seeds, rule.metric)
        # An end of the scale can be met but never drawn; what has no known error is taken as measured.
        if drawn is None or rule.bound in (0.0, 1.0):
            drawn = np.full(resampled.count, one.report.metrics.get(rule.metric, math.nan))
        kept = rule.kept_by(drawn)
        values[~kept] = np.nan
    return values
