"""What ``front.json`` says of the one trial to take (pure)."""

from collections.abc import Mapping
from typing import Any, Literal

from orchestrator.front.schema.values import Intervals, Number, Omitted, Part, Values


class Bounded(Part):
    """One bound of a rule, and how the chosen trial keeps it."""

    bound: str
    """As the rule writes it, metrics in full."""
    metric: str
    """What is bounded."""
    value: Number
    """The trial's, on the report prompts."""
    limit: Number
    """What the bound comes to on the report prompts, with the references' values there."""
    keeps: bool
    """Whether the trial keeps it on the report prompts."""
    sure: Number | None
    """Probability that it keeps it, by the report prompts; null where nothing is known of an error."""


class Difference(Part):
    """The chosen trial minus an alternative, in the metric's unit."""

    value: Number
    """On the report prompts."""
    low: Number
    """Lower end of its 95 % interval."""
    high: Number
    """Upper end of its 95 % interval."""


class Alternative(Part):
    """What could be taken instead."""

    id: str
    """Of the trial, or the label of the reference."""
    kind: Literal["reference", "passed over", "runner-up", "surer", "beyond the rule"]
    """A reference; the best on the select prompts, which likely breaks the rule on the others; a trial that keeps the
    rule too; the best that is 90 % sure to keep it; the one that breaks it least among those with a better aim."""
    keeps: bool
    """Whether it keeps the rule on the prompts that the choice is made by."""
    sure: Number | None
    """Probability that it keeps the rule, by the report prompts."""
    metrics: Values
    """The rule's metrics on the report prompts."""
    intervals: Intervals
    """Theirs."""
    differences: Mapping[str, Difference]
    """By metric; paired by prompt where both answered the same."""


class Choice(Part):
    """The trial that a rule chooses: the best on the select prompts of those that the others do not rule out."""

    rule: str
    """Bounds and aims, metrics in full."""
    trial: Omitted[str] = None
    """Left out where no trial measured what the rule asks for."""
    keeps: bool
    """Whether the trial keeps the rule on the select prompts; where none does, it is the one that is nearest to it."""
    sure: Number | None
    """Probability that it keeps the whole rule, by the report prompts."""
    likely: Omitted[Number] = None
    """What that has to be at least, if a trial can be had that keeps the rule so; documents of earlier versions asked
    for nothing."""
    finished: int
    """Trials that measured what the rule asks for."""
    kept_by: int
    """How many of these keep it on the select prompts."""
    metrics: Values
    """The rule's metrics of the trial on the report prompts."""
    intervals: Intervals
    """Theirs."""
    bounds: tuple[Bounded, ...]
    """One by one."""
    alternatives: tuple[Alternative, ...]
    """References first, then other trials."""
    note: Omitted[str] = None
    """Why there is no trial; only where there is none."""

    @property
    def doubtful(self) -> bool:
        """Whether the trial keeps the rule on the select prompts, and by the others too likely breaks it."""
        return self.keeps and self.sure is not None and self.sure < (self.likely or 0.0)

    def other(self, kind: str) -> Alternative | None:
        """The first of the alternatives of ``kind``."""
        return next((one for one in self.alternatives if one.kind == kind), None)

    def as_json(self) -> dict[str, Any]:
        """In plain JSON values, as ``front.json`` holds it."""
        return self.model_dump(mode="json")
