"""One model's part of a sweep, as the doctor looks at it (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.record.trials import TrialRecord
from sweeps.errors import ObjectiveError
from sweeps.goals.objectives import Objective
from sweeps.goals.rung_metrics import rung_goals
from sweeps.statistics.pareto import Goal

if TYPE_CHECKING:
    from sweeps.schema.spec import SweepSpec


@dataclass(frozen=True)
class Examined:
    """One model's part of a sweep."""

    model: str
    front: Mapping[str, Any]
    """The document of ``front.json``."""
    records: Sequence[TrialRecord]
    """All of this model."""
    spec: "SweepSpec | None"

    @property
    def body(self) -> Mapping[str, Any]:
        """The model's part of ``front.json``."""
        body: Mapping[str, Any] = self.front["models"][self.model]
        return body

    @property
    def objectives(self) -> list[str]:
        """The metrics that the front trades off."""
        return [objective["metric"] for objective in self.front["objectives"]]

    @property
    def trials(self) -> list[Mapping[str, Any]]:
        """Searched trials, as ``front.json`` holds them."""
        return list(self.body["trials"])

    @property
    def finished(self) -> list[Mapping[str, Any]]:
        """Searched trials with every objective."""
        return [trial for trial in self.trials if trial["feasible"] is not None]

    @property
    def members(self) -> list[Mapping[str, Any]]:
        """Trials on the front."""
        return [trial for trial in self.trials if trial["on_front"]]

    @property
    def rung_goals(self) -> dict[str, tuple[str, Goal]]:
        """By objective, the metric and goal by which trials are compared at rungs; empty where one has none."""
        chosen = self.spec.pruning.metrics if self.spec is not None and self.spec.pruning is not None else {}
        found = {}
        for one in self.front["objectives"]:
            objective = Objective.model_validate(one)
            own = {metric: rung for metric, rung in chosen.items() if metric == objective.metric}
            try:
                found[objective.metric] = rung_goals([objective], own)[0]
            except ObjectiveError:
                return {}
        return found

    @property
    def named(self) -> list[Mapping[str, Any]]:
        """The same as :attr:`shown`, references under their own names as ``id``."""
        references = [{**entry, "id": f"the reference {label}"} for label, entry in self.body["reference"].items()]
        return [*references, *({**trial, "id": f"trial {trial['id']}"} for trial in self.members)]

    @property
    def shown(self) -> list[Mapping[str, Any]]:
        """What people will look at: references and front."""
        return [*self.body["reference"].values(), *self.members]
