"""What a measurement comes to: the one record that evaluation, slots, journal, search and front pass on.

Imports nothing, so that whoever reads a journal or checks a specification loads neither torch nor transformers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

Counts = Mapping[str, tuple[int, int]]
"""(successes, total) by the name of a rate."""


@dataclass(frozen=True)
class Scores:
    """Values of metrics, and what is known of their errors."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    """Value by metric."""
    counts: Counts = field(default_factory=dict)
    """(successes, total) behind every metric that is a rate."""
    errors: Mapping[str, float] = field(default_factory=dict)
    """Standard error of every metric that is a mean over samples, as far as it is known; infinite of a single one."""

    def joined(self, others: Self) -> Self:
        """These and ``others``, which stand where both know a metric."""
        return type(self)(
            {**self.metrics, **others.metrics},
            {**self.counts, **others.counts},
            {**self.errors, **others.errors},
        )
