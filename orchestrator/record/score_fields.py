"""Scores as fields of a journal's event, which JSON can hold (pure)."""

import math
from collections.abc import Mapping
from typing import Any

from training.evaluation.scores import Scores

SELECT = "select_"
"""Begins the fields of what the search may see, in the event that ends a trial."""


REPORT = "report_"
"""Begins the fields of the report, in an event whose own fields are of a rung."""


def score_fields(scores: Scores, prefix: str = "") -> dict[str, Any]:
    """The fields of ``scores``, whose names begin with ``prefix``; what :func:`scores_in` reads."""
    return {
        f"{prefix}metrics": finite(scores.metrics),
        f"{prefix}counts": dict(scores.counts),
        f"{prefix}errors": finite(scores.errors),
    }


def scores_in(event: Mapping[str, Any], prefix: str = "") -> Scores:
    """The scores in the fields of ``event`` that begin with ``prefix``; old journals hold no errors."""
    return Scores(
        event.get(f"{prefix}metrics", {}),
        {name: (successes, total) for name, (successes, total) in event.get(f"{prefix}counts", {}).items()},
        event.get(f"{prefix}errors", {}),
    )


def finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that were measured: JSON knows no NaN, and one that is not finite says nothing."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}
