"""What ``front.json`` says about the trials of a model together: predictions, importance, notes (pure)."""

from collections.abc import Mapping

from orchestrator.front.schema.values import Number, Part


class RungPrediction(Part):
    """Rank correlation of one rung metric with one objective, over finished trials."""

    step: int
    """Of the rung: the median over the trials."""
    metric: str
    """Measured at the rung; of a per-layer metric also the mean over layers, ending in ``/mean``."""
    objective: str
    """Measured in the end."""
    spearman: Number | None
    """Null where one side is constant, or fewer than four trials have both."""
    low: Number | None
    """Lower end of its 95 % interval."""
    high: Number | None
    """Upper end of its 95 % interval."""
    n: int
    """Trials that have both."""


class SettingImportance(Part):
    """How much one setting decides."""

    param: str
    """Dotted path; of a band of layers, ``.first`` and ``.last``."""
    importance: Number
    """Share, of 1 in all."""
    p_value: Number
    """How often shuffled results give at least as much."""


class Importance(Part):
    """Which searched settings decided how good the trials became (PED-ANOVA)."""

    n: int
    """Finished trials with every objective."""
    reliable: bool
    """Whether those are enough."""
    targets: Mapping[str, tuple[SettingImportance, ...]]
    """By objective, and ``front``: most important first."""


class Note(Part):
    """What deserves a second look."""

    check: str
    """Name of the check that found it."""
    model: str | None
    """Whom it concerns; null is the whole sweep."""
    sentence: str
    """For people."""
