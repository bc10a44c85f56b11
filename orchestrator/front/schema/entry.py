"""What ``front.json`` holds of one reference or searched trial (pure)."""

from collections.abc import Mapping
from typing import Any

from orchestrator.front.schema.values import Counts, Intervals, Measured, Number, Omitted, Part, Values
from orchestrator.record.trials import Status
from sweeps.statistics.membership import Membership


class SelectHalf(Part):
    """What was measured on the select prompts, by which the front is chosen."""

    metrics: Values
    """Means over the seeds."""
    intervals: Intervals
    """The hull of the seeds' intervals."""
    counts: Counts
    """Summed over the seeds."""


class SeedEntry(Part):
    """One training seed of a trial or reference that was trained under several."""

    id: str
    """Of the trial or of its replicate."""
    seed: int | None
    """The training seed; null in journals that did not record it."""
    status: Status
    """What became of it; only FINISHED seeds are pooled."""
    metrics: Values
    """On the report prompts."""
    counts: Counts
    """Behind the rates in ``metrics``."""
    errors: Mapping[str, Number]
    """Standard errors over samples of metrics that are not rates."""
    select: SelectHalf
    """The same on the select prompts."""


class LastRung(Part):
    """The last measurement on the way, on the select prompts."""

    step: int
    """Optimizer step."""
    metrics: Values
    """Measured without generation."""
    intervals: Intervals
    """Of those whose counts or errors are known."""


class CoursePoint(Part):
    """Drift of the direction and inclination to refuse at one step of a training."""

    step: int
    """Optimizer step; 0 is the untouched model."""
    metrics: Values
    """On the select prompts."""


class Entry(Part):
    """A reference or a searched trial; values are of the report prompts, pooled over its training seeds."""

    status: Status
    """What became of it."""
    params: Mapping[str, Any]
    """Settings by dotted path; of a trial, what was searched; of a scaled model, ``scale`` besides."""
    metrics: Values
    """Means over the seeds; empty unless it has finished."""
    intervals: Intervals
    """Of every rate, and of every other metric whose error is known."""
    counts: Counts
    """Summed over the seeds, so that ``total`` is not the number of distinct prompts."""
    errors: Mapping[str, Number]
    """Standard errors of metrics that are not rates, over samples and seeds together."""
    select: SelectHalf
    """The same on the select prompts."""
    replicates: int
    """Training seeds that finished, the searched one included."""
    seeds: Omitted[tuple[SeedEntry, ...]] = None
    """Every seed, the searched one first; only where there are several."""
    rungs: Omitted[LastRung] = None
    """The last rung; only where one was measured."""
    course: Omitted[tuple[CoursePoint, ...]] = None
    """By ascending step, of the searched seed; only where something was measured."""
    reason: Omitted[str] = None
    """Why it was pruned or stopped; only where that is known."""
    error: Omitted[str] = None
    """What made it fail; only where it did."""

    def measured(self, metric: str) -> Measured | None:
        """``metric`` with its interval; None where it was not measured."""
        value = self.metrics.get(metric)
        return None if value is None else Measured(value, *self.intervals.get(metric, ()))


class OnReport(Part):
    """What the report prompts say of a trial that has finished."""

    feasible: bool
    """Whether it keeps the rules there."""
    behind: tuple[str, ...]
    """Ids of the members of the front that keep the rules and beat it there."""


class PairedComparison(Part):
    """How a rate of a trial differs from a reference's on the same report prompts."""

    difference: Number
    """Trial minus reference."""
    low: Number
    """Lower end of its 95 % interval."""
    high: Number
    """Upper end of its 95 % interval."""
    p_value: Number
    """As if this were the only comparison."""
    prompts: int
    """That both answered."""
    seeds: tuple[int, int]
    """Training seeds of the trial and of the reference."""
    p_adjusted: Number
    """For all ``comparisons`` of the model (Holm)."""
    comparisons: int
    """How many there are."""


class Identified(Part):
    """What has an id; the id is its first key."""

    id: str
    """Unique in the sweep."""


class TrialEntry(Entry, Identified):
    """A searched trial and how it stands to the front."""

    arm: Omitted[str] = None
    """``plain`` where it is of plain fine-tuning, without a constraint."""
    scaled_of: Omitted[str] = None
    """The trial whose model this is, scaled; only of scaled models."""
    forked_from: Omitted[str] = None
    """The trial that did its first steps for it; only where one did."""
    forked_at: Omitted[int] = None
    """How many these are; only where there are any."""
    on_front: bool
    """Whether it is a member, by the select prompts."""
    p_on_front: Number | None
    """Probability to belong to the front, given few select prompts and few seeds; null where it is not known."""
    feasible: bool | None
    """Whether it keeps the rules on the select prompts; null unless it has finished with every objective."""
    on_report: OnReport | None
    """Null unless it has finished with every objective."""
    membership: Omitted[Membership] = None
    """What the report prompts say of it: ``on`` the front, ``off`` it, or ``open``: it cannot be told. All that is said
    of a model's trials is right together with 95 %. Only where the errors of all objectives are known."""
    versus: Omitted[Mapping[str, Mapping[str, PairedComparison]]] = None
    """By reference and metric; only for members, and only where answers were kept."""

    @property
    def doubt(self) -> str:
        """Of a member: why the report prompts do not bear out that it is one, in a few words; empty where they do."""
        if self.on_report is None:
            return ""
        if not self.on_report.feasible:
            return "breaks a rule"
        return f"behind {', '.join(self.on_report.behind)}" if self.on_report.behind else ""
