"""A trial and its replicates under other training seeds as one estimate (pure)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from orchestrator.front.outcomes import Outcomes, Prompt, Row, outcomes
from orchestrator.record.trials import Status, TrialRecord
from sweeps.goals.replicates import Estimate, estimate_over_seeds
from sweeps.statistics.bootstrap import two_way_interval
from sweeps.statistics.intervals import Interval, interval_of_mean, wilson_interval
from training.evaluation.scores import Scores

Answers = Mapping[str, Sequence[Row]]
"""Rows of ``answers/`` by trial id; trials that left none are absent."""


@dataclass(frozen=True)
class Seeds:
    """A searched trial or a reference, and its repetitions under other training seeds."""

    record: TrialRecord
    """The one that was searched."""
    others: tuple[TrialRecord, ...] = ()
    """All replicates, whatever became of them."""

    @property
    def finished(self) -> tuple[TrialRecord, ...]:
        """Every seed that finished, the searched one first; empty where that has not."""
        if self.record.status is not Status.FINISHED:
            return ()
        return (self.record, *(other for other in self.others if other.status is Status.FINISHED))


@dataclass(frozen=True)
class Pooled:
    """A searched trial or a reference, over all the seeds it was measured with."""

    record: TrialRecord
    """The one that was searched."""
    seeds: tuple[TrialRecord, ...]
    """Every seed that finished, the searched one first; empty where none has finished."""
    others: tuple[TrialRecord, ...] = ()
    """All replicates, whatever became of them."""
    report: Scores = field(default_factory=Scores)
    """On the report prompts: means over the seeds; counts summed over them, so that a total is no number of distinct
    prompts; standard errors over samples and seeds together."""
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    """95 % interval of every rate, and of every other metric whose error is known."""


def by_trial(records: Iterable[TrialRecord]) -> list[Seeds]:
    """Every trial and reference of one model with its replicates, in the order in which the trials were given.

    A replicate names its trial by ``replicate_of``; references that share a label are seeds of one reference.
    """
    heads: dict[str, TrialRecord] = {}
    replicates: dict[str, list[TrialRecord]] = {}
    first_of: dict[str, str] = {}
    listed = list(records)
    for record in listed:
        if record.kind == "replicate":
            continue
        head = first_of.setdefault(record.label, record.id) if record.kind == "reference" else record.id
        if head == record.id:
            heads[head] = record
        else:
            replicates.setdefault(head, []).append(record)
    for record in listed:
        if record.kind == "replicate" and record.replicate_of in heads:
            replicates.setdefault(record.replicate_of, []).append(record)
    return [Seeds(record, tuple(replicates.get(record.id, ()))) for record in heads.values()]


def mean_metrics(by_seed: Sequence[Mapping[str, float]], names: Iterable[str] | None = None) -> dict[str, float]:
    """Means over the seeds of what every seed has measured, of ``names`` or of everything; empty without seeds."""
    if not by_seed:
        return {}
    wanted = by_seed[0] if names is None else names
    if len(by_seed) == 1:  # as nearly always
        (own,) = by_seed
        return {name: float(own[name]) for name in wanted if name in own}
    return {name: fmean(one[name] for one in by_seed) for name in wanted if all(name in one for one in by_seed)}


def pool(records: Iterable[TrialRecord], answers: Answers) -> list[Pooled]:
    """Every trial and reference of :func:`by_trial` as one estimate.

    Args:
        records: of one model.
        answers: outcomes by prompt, from which the intervals of replicated trials are made.
    """
    return [pooled(one, answers) for one in by_trial(records)]


def pooled(trial: Seeds, answers: Answers) -> Pooled:
    """One trial with its replicates: means over the seeds, and intervals that know that the prompts were the same.

    With several seeds the interval of a rate is the two-way bootstrap over seeds and prompts, never narrower than
    Wilson's at the number of distinct prompts. Where the outcomes by prompt are not known it is the hull of the seeds'
    Wilson intervals, which is wider.
    """
    record, seeds = trial.record, trial.finished
    reports = [seed.report for seed in seeds]
    means = estimates_of_means(reports)
    errors = {name: estimate.error for name, estimate in means.items() if estimate.error is not None}
    if len(seeds) < 2:
        own = record.report
        intervals = {name: wilson_interval(*count) for name, count in own.counts.items()} | intervals_of_means(means)
        return Pooled(record, seeds, trial.others, replace(own, errors=errors), intervals)
    counts = summed_counts(reports)
    return Pooled(
        record,
        seeds,
        trial.others,
        Scores(mean_metrics([one.metrics for one in reports]), counts, errors),
        {name: _interval(name, seeds, answers) for name in counts} | intervals_of_means(means),
    )


def summed_counts(by_seed: Sequence[Scores]) -> dict[str, tuple[int, int]]:
    """(successes, total) over the seeds of every rate that all of them have measured; empty without seeds."""
    wanted = by_seed[0].counts if by_seed else ()
    shared = [name for name in wanted if all(name in one.counts for one in by_seed)]
    return {name: _summed([one.counts[name] for one in by_seed]) for name in shared}


def estimates_of_means(by_seed: Sequence[Scores]) -> dict[str, Estimate]:
    """What the seeds say of the metrics that are no rates, of those whose error is known: over samples and seeds."""
    found = {
        name: estimate_over_seeds(
            [one.metrics[name] for one in by_seed], [None] * len(by_seed), [one.errors.get(name) for one in by_seed]
        )
        for name in mean_metrics([one.metrics for one in by_seed])
        if not any(name in one.counts for one in by_seed)
    }
    return {name: estimate for name, estimate in found.items() if estimate.known and math.isfinite(estimate.value)}


def intervals_of_means(means: Mapping[str, Estimate]) -> dict[str, Interval]:
    """95 % intervals of ``means``: normal where the error knows of the samples, else Student's over the seeds."""
    return {
        name: interval_of_mean(estimate.value, estimate.error, None if estimate.over_samples else estimate.seeds)
        for name, estimate in means.items()
        if estimate.error is not None
    }


def outcomes_by_seed(seeds: Sequence[TrialRecord], metric: str, answers: Answers) -> list[Outcomes] | None:
    """The outcome of every prompt under every seed; None where one seed's are not known."""
    found = []
    for seed in seeds:
        rows = answers.get(seed.id)
        known = outcomes(rows, metric, seed.report.counts[metric]) if rows and metric in seed.report.counts else None
        if known is None:
            return None
        found.append(known)
    return found


def outcome_table(by_seed: Sequence[Outcomes], prompts: Sequence[Prompt]) -> NDArray[np.float64]:
    """``[seeds, prompts]`` of 0 and 1."""
    return np.array([[float(found[prompt]) for prompt in prompts] for found in by_seed])


def common_prompts(by_seed: Sequence[Outcomes]) -> list[Prompt]:
    """The prompts on which every seed has a verdict; none where that leaves out more than a tenth of them."""
    common = sorted(set.intersection(*(set(found) for found in by_seed)))
    return common if len(common) >= 0.9 * max(len(found) for found in by_seed) else []


def _interval(metric: str, seeds: Sequence[TrialRecord], answers: Answers) -> Interval:
    by_seed = outcomes_by_seed(seeds, metric, answers)
    prompts = common_prompts(by_seed) if by_seed else []
    if by_seed and prompts:
        found = two_way_interval(outcome_table(by_seed, prompts))
        return found.low, found.high
    singles = [wilson_interval(*seed.report.counts[metric]) for seed in seeds]
    return min(low for low, _ in singles), max(high for _, high in singles)


def _summed(counts: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return sum(successes for successes, _ in counts), sum(total for _, total in counts)
