"""Which metric that needs no generation stands for each objective at a rung."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from sweeps.errors import ObjectiveError
from sweeps.statistics.pareto import Goal

if TYPE_CHECKING:
    from sweeps.goals.objectives import Objective

Value = TypeVar("Value")
RUNG_METRICS = ("safety/refusal_log_odds", "safety/refusal_unlikely", "utility/loss", "utility/forced_match")
"""What every rung measures, beside the direction metrics of every layer."""
RUNG_METRIC_OF = {
    "safety/attack_success_rate": "safety/refusal_log_odds",
    "safety/mean_attack_success_rate": "safety/refusal_log_odds",
    "safety/compliance_rate": "safety/refusal_log_odds",
    "safety/judged": "safety/refusal_log_odds",
    "utility/accuracy": "utility/loss",
    "utility/coherence": "utility/loss",
    "train/loss": "utility/loss",
}
"""Defaults, by objective metric or by the rate that a metric of one set, judge or family is of. Over-refusal has none:
what a model refuses of harmful prompts does not tell whether it refuses borderline ones."""

_REFUSES_MORE = {
    "safety/refusal_log_odds": 1,
    "safety/refusal_unlikely": -1,
    "safety/attack_success_rate": -1,
    "safety/mean_attack_success_rate": -1,
    "safety/compliance_rate": -1,
    "safety/judged": -1,
    "safety/over_refusal": 1,
    "safety/harmless_refused": 1,
}
_CAN_MORE = {
    "utility/accuracy": 1,
    "utility/coherence": 1,
    "utility/forced_match": 1,
    "utility/loss": -1,
    "train/loss": -1,
}
_DIRECTION = re.compile(r"^direction/(cosine|displacement)/layer_\d{2,}$")


def rung_goals(objectives: Sequence["Objective"], metrics: Mapping[str, str]) -> list[tuple[str, Goal]]:
    """What trials are compared by at a rung.

    The goal turns round where the rung metric rises as the objective falls: a low attack success rate is a high
    refusal log-odds.

    Args:
        objectives: of the sweep.
        metrics: rung metric by objective metric, where the defaults do not fit (``pruning.metrics``).

    Returns:
        rung metric and goal of each objective, in their order.

    Raises:
        ObjectiveError: an objective has no rung metric, or ``metrics`` names one that does not fit.
    """
    names = [objective.metric for objective in objectives]
    stray = next((name for name in metrics if name not in names), None)
    if stray is not None:
        raise ObjectiveError(f"pruning.metrics ({stray!r}) is not an objective: use one of {', '.join(names)}")
    return [_rung_goal(objective.metric, objective.goal, metrics) for objective in objectives]


def _rung_goal(metric: str, goal: Goal, metrics: Mapping[str, str]) -> tuple[str, Goal]:
    chosen = metrics.get(metric) or _default(metric)
    if chosen is None:
        raise ObjectiveError(
            f"pruning.metrics has nothing for the objective {metric!r}, which rungs do not measure: name what stands "
            f"for it, as {{{metric}: {RUNG_METRICS[0]}}}, or write pruning: null so that every trial finishes"
        )
    if not _measured_at_rungs(chosen):
        raise ObjectiveError(
            f"pruning.metrics ({chosen!r} for {metric}) is not measured at rungs: choose one of "
            f"{', '.join(RUNG_METRICS)} or a direction metric of one layer"
        )
    direction = _direction(metric, chosen)
    if direction is None:
        raise ObjectiveError(
            f"pruning.metrics ({chosen!r} for {metric}) measures something else than the objective: choose "
            f"{' or '.join(_related(metric)) or 'another objective, or write pruning: null'}"
        )
    opposite: Goal = "minimize" if goal == "maximize" else "maximize"
    return chosen, goal if direction > 0 else opposite


def _default(metric: str) -> str | None:
    return metric if _measured_at_rungs(metric) else _lookup(RUNG_METRIC_OF, metric)


def _measured_at_rungs(metric: str) -> bool:
    return metric in RUNG_METRICS or _DIRECTION.match(metric) is not None


def _direction(metric: str, rung_metric: str) -> int | None:
    """1 where both rise together, -1 where one falls as the other rises, none where they have nothing in common."""
    if metric == rung_metric:
        return 1
    for signs in (_REFUSES_MORE, _CAN_MORE):
        one, other = _lookup(signs, metric), signs.get(rung_metric)
        if one is not None and other is not None:
            return one * other
    return None


def _related(metric: str) -> list[str]:
    return [name for name in RUNG_METRICS if _direction(metric, name) is not None]


def _lookup(table: Mapping[str, Value], metric: str) -> Value | None:
    """The entry of ``metric``, or of the rate that it is measured for one set, judge or family of."""
    return next((value for name, value in table.items() if metric == name or metric.startswith(f"{name}/")), None)
