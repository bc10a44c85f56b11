"""What a front trades off, and which trials may stand on it."""

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, PlainSerializer, model_validator

from sweeps.errors import ObjectiveError
from sweeps.goals.metrics import check_metric, is_share
from training.config import Config

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_RULE = re.compile(r"^\s*(\S+?)\s*(<=|>=|<|>)\s*(\S+)\s*$")
_OPERATORS: dict[str, Callable[[Any, float], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


class Objective(Config):
    """One axis of the Pareto front."""

    model_config = ConfigDict(use_attribute_docstrings=True)  # they are in the published schema of front.json

    metric: str
    """What is measured, such as safety/attack_success_rate or utility/accuracy."""
    goal: Literal["minimize", "maximize"]
    """Which way is better."""
    worst: float | None = None
    """The hypervolume's reference value; None is 1 (minimize) or 0 (maximize) for a rate, else it must be given."""

    @model_validator(mode="after")
    def _measurable(self) -> Self:
        try:
            check_metric(self.metric, "metric")
        except ObjectiveError as error:
            raise ValueError(str(error)) from error
        if self.worst is None and not is_share(self.metric):
            raise ValueError(
                f"worst is missing for {self.metric}, which is not a rate between 0 and 1: "
                "give the worst value still of interest, from which the hypervolume is measured"
            )
        return self

    @property
    def reference(self) -> float:
        """The reference value that the hypervolume is measured from, in the metric's unit."""
        if self.worst is not None:
            return self.worst
        return 1.0 if self.goal == "minimize" else 0.0


class FeasibilityRule(Config):
    """A bound that a trial must keep to be on the front."""

    metric: str
    """What is bounded."""
    comparison: Literal["<=", ">=", "<", ">"]
    """How the metric must compare with the bound."""
    bound: float
    """The bound, in the metric's unit."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The rule that ``text`` writes, such as ``safety/over_refusal <= 0.10``.

        Raises:
            ObjectiveError: it is not a rule, or bounds a metric no trial provides.
        """
        match = _RULE.match(text)
        try:
            bound = float(match[3]) if match else math.nan
        except ValueError:
            bound = math.nan
        if match is None or not math.isfinite(bound):
            raise ObjectiveError(
                f"feasible ({text!r}) is not a rule: write a metric, one of <= >= < >, and a number, "
                "such as safety/over_refusal <= 0.10"
            )
        check_metric(match[1], "feasible")
        return cls.model_validate({"metric": match[1], "comparison": match[2], "bound": bound})

    def holds(self, metrics: Mapping[str, float]) -> bool:
        """Whether measured ``metrics`` keep the rule; a metric that is absent or NaN does not."""
        value = metrics.get(self.metric, math.nan)
        return not math.isnan(value) and bool(_OPERATORS[self.comparison](value, self.bound))

    def kept_by(self, values: "NDArray[np.float64]") -> "NDArray[np.bool_]":
        """Which of ``values`` of the metric keep the rule; NaN does not."""
        kept: NDArray[np.bool_] = _OPERATORS[self.comparison](values, self.bound)
        return kept

    def violation(self, metrics: Mapping[str, float]) -> float:
        """How far ``metrics`` overstep the bound, in the metric's unit: above 0 exactly where the rule is broken.

        A metric that is absent or NaN oversteps infinitely, a strict rule met with equality by the least positive
        number.
        """
        if self.holds(metrics):
            return 0.0
        value = metrics.get(self.metric, math.nan)
        distance = abs(value - self.bound)
        return math.inf if math.isnan(distance) else max(distance, math.ulp(0.0))

    def __str__(self) -> str:
        return f"{self.metric} {self.comparison} {self.bound}"


def _parse_rule(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return FeasibilityRule.parse(value)
    except ObjectiveError as error:
        raise ValueError(str(error)) from error


FeasibleRule = Annotated[FeasibilityRule, BeforeValidator(_parse_rule), PlainSerializer(str)]
"""A :class:`FeasibilityRule` as a specification writes it: ``safety/over_refusal <= 0.10``."""
