"""Models side by side in their own units: what plain fine-tuning lost of safety and gained of the task is 1 (pure)."""

from collections.abc import Mapping
from typing import Any

from orchestrator.front.schema.values import Number, Omitted, Part


class Uncertain(Part):
    """A value on the report prompts with its 95 % interval."""

    value: Number
    """As measured."""
    low: Number
    """Lower end."""
    high: Number
    """Upper end."""

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


class NormalisedPoint(Part):
    """A trial or reference in its model's own units."""

    id: str
    """Of the trial, or the label of the reference."""
    safety: Uncertain
    """Share of the safety that plain fine-tuning lost which it regains; 0 is plain fine-tuning, 1 the base model."""
    utility: Uncertain
    """Share of what plain fine-tuning gained on the task which it keeps; 0 is the base model, 1 plain fine-tuning."""
    params: Mapping[str, Any]
    """Settings by dotted path."""


class AtUtility(Part):
    """The safest member that keeps a share of the task gain: chosen on select, shown by report prompts."""

    level: Number
    """Share of the task gain that it must keep on the select prompts."""
    id: str
    """Of the member."""
    safety: Uncertain
    """Share of lost safety that it regains."""


class NormalisedModel(Part):
    """One model's front in its own units."""

    name: str
    """Of the model; with its sweep before it where there are several sweeps."""
    sweep: str | None
    """Folder of its sweep; null where all are of one."""
    model: str
    """As its sweep calls it."""
    lost: Omitted[Uncertain] = None
    """Safety that plain fine-tuning lost, in the safety metric's unit."""
    gained: Omitted[Uncertain] = None
    """Utility that plain fine-tuning gained, in the utility metric's unit."""
    hypervolume: Omitted[Uncertain] = None
    """Share of the unit square that the front dominates: 1 is all safety at all of the gain."""
    front: tuple[NormalisedPoint, ...] = ()
    """Members, safest first."""
    reference: Omitted[NormalisedPoint] = None
    """Fine-tuning with safety data, where it was measured."""
    knee: Omitted[str] = None
    """The member beyond which one share costs more and more of the other; only where the front has a bend."""
    chosen: Omitted[str] = None
    """The trial that the rule chooses."""
    kept: Omitted[bool] = None
    """Whether that trial keeps the rule."""
    at: tuple[AtUtility, ...] = ()
    """By level, those that some member reaches."""
    note: Omitted[str] = None
    """Why there are no shares; only where there are none."""


class Lead(Part):
    """One model's share of regained safety minus another's, at the same share of the task gain."""

    level: Number
    """Share of the task gain that both keep."""
    first: str
    """Name of the model that regains more."""
    second: str
    """Name of the other; it may reach the level with no member."""
    difference: Omitted[Uncertain] = None
    """First minus second; left out where the second has no member at the level."""

    @property
    def sure(self) -> bool:
        """Whether the interval leaves out 0, or the second does not reach the level."""
        return self.difference is None or self.difference.low > 0


class Carried(Part):
    """One setting in units that models share, and where their fronts have it."""

    setting: str
    """What it is and in which unit."""
    chosen: Mapping[str, Any]
    """Value of the chosen trial by name of the model."""
    fronts: Mapping[str, tuple[Any, ...]]
    """By name of the model: smallest and largest value on the front, or all values where they are no numbers."""
    common: Omitted[tuple[Any, ...]] = None
    """What all fronts share: two ends or values; left out where there is nothing."""


class ModelComparison(Part):
    """Models side by side."""

    safety: str
    """The metric of safety."""
    utility: str
    """The metric of utility."""
    rule: str
    """By which a trial of each model was chosen."""
    basis: tuple[str, ...]
    """What is compared and what is not the same, in sentences."""
    models: tuple[NormalisedModel, ...]
    """The largest hypervolume first; models without shares come last."""
    leads: tuple[Lead, ...]
    """Every pair of models at every level that one of them reaches."""
    settings: tuple[Carried, ...]
    """Which settings carry over from model to model."""

    def as_json(self) -> dict[str, Any]:
        """In plain JSON values."""
        return self.model_dump(mode="json")
