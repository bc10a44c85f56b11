"""The document of ``front.json``: models, their comparison, and all of a sweep (pure)."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import WithJsonSchema

from orchestrator.front.schema.arms import ArmFront, ArmVerdict
from orchestrator.front.schema.choice import Choice
from orchestrator.front.schema.comparison import ModelComparison
from orchestrator.front.schema.entry import Entry, TrialEntry
from orchestrator.front.schema.explanations import Importance, Note, RungPrediction
from orchestrator.front.schema.labels import Labels
from orchestrator.front.schema.shared import SharedSteps
from orchestrator.front.schema.values import Intervals, Number, Omitted, Part, Values
from sweeps.goals.objectives import FeasibleRule, Objective

VERSION: Final = 1
"""Of the document: raised where a key goes or changes its meaning, not where one is added."""

Rule = Annotated[FeasibleRule, WithJsonSchema({"type": "string"}, mode="serialization")]


class ModelFront(Part):
    """The front of one model."""

    hypervolume: Number
    """Of the members that keep the rules on the report prompts, by their values there."""
    front: tuple[str, ...]
    """Ids of the members, chosen on the select prompts."""
    front_on_report: tuple[str, ...]
    """Ids of those that the report prompts would have chosen: no result, since luck is not repeated."""
    reference: Mapping[str, Entry]
    """By label: ``base``, ``ift``, ``ift_safety``, as far as they were measured."""
    scaled_references: Omitted[Mapping[str, Entry]] = None
    """Models between the untouched and a trained reference, by label and scale (``ift@0.5``): they cost no training, so
    that every constraint has to beat them. Only where they were measured."""
    trials: tuple[TrialEntry, ...]
    """Every searched trial, and those of its scaled models that were measured in full."""
    prediction: tuple[RungPrediction, ...]
    """What the cheap metrics of the rungs foretold."""
    importance: Importance
    """Which settings decided."""
    note: Omitted[str] = None
    """Why the front is empty; only where it is."""
    arms: Omitted[Mapping[str, ArmFront]] = None
    """``constraint`` and ``plain``; only where both were searched."""
    verdict: Omitted[ArmVerdict] = None
    """Whether the constraint beats plain fine-tuning; only where both were searched and one of them has a front."""
    choice: Omitted[Choice] = None
    """The trial to take by the default rule; documents of earlier versions have none."""
    steps: Omitted[SharedSteps] = None
    """What trials trained, and what others had done for them; only where any began from another."""
    labels: Omitted[Labels] = None
    """What people say of its answers; only where somebody labelled any."""

    @property
    def members(self) -> list[TrialEntry]:
        """The trials on the front, in the order of ``trials``."""
        return [trial for trial in self.trials if trial.on_front]

    @property
    def finished(self) -> list[TrialEntry]:
        """The trials that have finished with every objective."""
        return [trial for trial in self.trials if trial.feasible is not None]

    @property
    def searched(self) -> list[TrialEntry]:
        """The trials without their scaled models."""
        return [trial for trial in self.trials if trial.scaled_of is None]

    @property
    def infeasible(self) -> list[TrialEntry]:
        """The trials that break a rule."""
        return [trial for trial in self.trials if trial.feasible is False]


class BestTrial(Part):
    """The best trade-off of a model."""

    id: str
    """Of a member of the front."""
    params: Mapping[str, Any]
    """As in its entry under ``trials``."""
    metrics: Values
    """As in its entry under ``trials``."""
    intervals: Intervals
    """As in its entry under ``trials``."""


class ModelSummary(Part):
    """One model beside the others."""

    hypervolume: Number
    """Raw: all models share one reference point, so that they can be compared."""
    front_size: int
    """Members of the front."""
    base: Omitted[Values] = None
    """Objectives of the untouched model; only where it was measured."""
    ift: Omitted[Values] = None
    """Objectives of plain fine-tuning; only where it was measured."""
    ift_safety: Omitted[Values] = None
    """Objectives of fine-tuning with safety data; only where it was measured."""
    best: BestTrial | None
    """Null where the front is empty."""

    @property
    def reference(self) -> dict[str, Values]:
        """Objectives of the measured references, by label."""
        found = {"base": self.base, "ift": self.ift, "ift_safety": self.ift_safety}
        return {label: values for label, values in found.items() if values is not None}


class Comparison(Part):
    """The models side by side."""

    best_rule: str
    """How the best trade-off was chosen, in words."""
    models: Mapping[str, ModelSummary]
    """By model."""
    normalised: Omitted[ModelComparison] = None
    """Each model in units of what its own fine-tuning lost and gained; only where the objectives allow it."""


class FrontDocument(Part):
    """The Pareto front of every model of a sweep: chosen on the select prompts, shown by the report prompts."""

    version: Literal[1]
    """Of this document: raised where a key goes or changes its meaning, not where one is added."""
    objectives: tuple[Objective, ...]
    """What the front trades off; ``worst`` is where the hypervolume is measured from."""
    feasible: tuple[Rule, ...]
    """Rules that a trial must keep to be on the front, such as ``safety/over_refusal <= 0.15``."""
    chosen_on: Literal["select", "all"]
    """``all`` where the prompts were not split, so that the values shown are those chosen by."""
    models: Mapping[str, ModelFront]
    """By model, in the order of the specification."""
    notes: tuple[Note, ...]
    """What deserves a second look, what matters most first."""
    comparison: Omitted[Comparison] = None
    """Only where several models ran."""
    labelled: Omitted[str] = None
    """What tells the labels of people that it knows from others; only where there are any."""

    @property
    def metrics(self) -> list[str]:
        """The metrics of the objectives."""
        return [objective.metric for objective in self.objectives]

    @property
    def bounded(self) -> list[str]:
        """The metrics that rules bound, each once."""
        return list(dict.fromkeys(rule.metric for rule in self.feasible))

    @property
    def split(self) -> bool:
        """Whether the front was chosen on other prompts than those it is shown by."""
        return self.chosen_on == "select"

    @property
    def repeated(self) -> bool:
        """Whether several training seeds of any trial finished."""
        return any(trial.replicates > 1 for body in self.models.values() for trial in body.trials)

    def members(self, model: str) -> list[TrialEntry]:
        """The trials on the front of ``model``, best first objective first."""
        first = self.objectives[0]
        sign = 1 if first.goal == "minimize" else -1

        def rank(trial: TrialEntry) -> float:
            value = trial.metrics[first.metric]
            assert value is not None  # a member has every objective
            return sign * value

        return sorted(self.models[model].members, key=rank)

    def as_json(self) -> dict[str, Any]:
        """The document in plain JSON values, as ``front.json`` holds it."""
        # Pydantic's own JSON mode refuses halves of surrogate pairs in keys, which a name or an error may bring.
        return dict(json.loads(json.dumps(self.model_dump())))
