"""One model's part of a sweep, as the doctor looks at it (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.front.schema.document import FrontDocument, ModelFront
from orchestrator.front.schema.entry import Entry
from orchestrator.record.trials import TrialRecord
from sweeps.errors import ObjectiveError
from sweeps.goals.rung_metrics import rung_goals
from sweeps.statistics.pareto import Goal

if TYPE_CHECKING:
    from sweeps.schema.spec import SweepSpec


@dataclass(frozen=True)
class Examined:
    """One model's part of a sweep."""

    model: str
    front: FrontDocument
    """Of the whole sweep; its notes are not written yet."""
    records: Sequence[TrialRecord]
    """All of this model."""
    spec: "SweepSpec | None"

    @property
    def body(self) -> ModelFront:
        """The model's part of the front."""
        return self.front.models[self.model]

    @property
    def rung_goals(self) -> dict[str, tuple[str, Goal]]:
        """By objective, the metric and goal by which trials are compared at rungs; empty where one has none."""
        chosen = self.spec.pruning.metrics if self.spec is not None and self.spec.pruning is not None else {}
        found = {}
        for objective in self.front.objectives:
            own = {metric: rung for metric, rung in chosen.items() if metric == objective.metric}
            try:
                found[objective.metric] = rung_goals([objective], own)[0]
            except ObjectiveError:
                return {}
        return found

    @property
    def shown(self) -> list[tuple[str, Entry]]:
        """What people will look at: references and front, and how to speak of each."""
        references = [(f"the reference {label}", entry) for label, entry in self.body.reference.items()]
        return [*references, *((f"trial {trial.id}", trial) for trial in self.body.members)]
