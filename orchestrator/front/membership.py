"""Who is on a model's front: decided here alone, on the select prompts, over all training seeds of a trial (pure).

Console, pictures, page, MLflow, ``procon status``, the replicates, the checkpoints that stay and the settings that one
model's search takes from another all ask this. What is shown of the members was measured on the report prompts, which
nobody chose by, so that the shown values are not those of the luckiest.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.front.pooling import Seeds, by_trial, mean_metrics
from orchestrator.record.trials import TrialRecord
from sweeps.goals.objectives import FeasibilityRule, Objective
from sweeps.goals.replicates import Candidate, Estimate, estimate_over_seeds, probability_on_front
from sweeps.statistics.pareto import non_dominated

Values = Mapping[str, float]


class Verdict(NamedTuple):
    """What one half of the prompts says of a trial."""

    feasible: bool
    """Whether it keeps every rule."""
    on_front: bool
    """Whether it is feasible and no feasible trial dominates it."""


@dataclass(frozen=True)
class Standing:
    """How one searched trial stands to the front of its model."""

    seeds: Seeds
    metrics: Values
    """Objectives and bounded metrics on the select prompts: means over the seeds that finished."""
    feasible: bool | None
    """Whether it keeps every rule; None where it has not finished with every objective on both halves."""
    on_front: bool
    """Whether it is a member."""

    @property
    def record(self) -> TrialRecord:
        """The trial that was searched, or its model scaled."""
        return self.seeds.record


def standings(
    objectives: Sequence[Objective], rules: Sequence[FeasibilityRule], records: Iterable[TrialRecord]
) -> list[Standing]:
    """Every searched trial of one model and its scaled models, in the order given, and whether it is on the front.

    Args:
        objectives: what the front trades off.
        rules: bounds that a trial must keep.
        records: searched trials and their replicates; references are passed over.
    """
    trials = [trial for trial in by_trial(records) if trial.record.kind in ("trial", "scaled")]
    names = list(dict.fromkeys([*(o.metric for o in objectives), *(rule.metric for rule in rules)]))
    seen = [mean_metrics([seed.select.metrics for seed in trial.finished], names) for trial in trials]
    reported = [mean_metrics([seed.report.metrics for seed in trial.finished], names) for trial in trials]
    measured = [
        has_all(objectives, values) and has_all(objectives, shown) for values, shown in zip(seen, reported, strict=True)
    ]
    found = members(objectives, rules, [values if able else {} for values, able in zip(seen, measured, strict=True)])
    return [
        Standing(trial, values, feasible if able else None, on_front)
        for trial, values, able, (feasible, on_front) in zip(trials, seen, measured, found, strict=True)
    ]


def members(
    objectives: Sequence[Objective], rules: Sequence[FeasibilityRule], values: Sequence[Values]
) -> list[Verdict]:
    """The verdict on each of ``values``; one that lacks an objective is not feasible."""
    feasible = [has_all(objectives, one) and all(rule.holds(one) for rule in rules) for one in values]
    rows = [
        [one[o.metric] for o in objectives] if able else [math.nan] * len(objectives)
        for one, able in zip(values, feasible, strict=True)
    ]
    # Plain booleans: NumPy scalars are no JSON.
    on_front = non_dominated(rows, [o.goal for o in objectives]).tolist()
    return [Verdict(*verdict) for verdict in zip(feasible, on_front, strict=True)]


def has_all(objectives: Sequence[Objective], metrics: Values) -> bool:
    """Whether every objective has a finite value."""
    return all(math.isfinite(metrics.get(o.metric, math.nan)) for o in objectives)


def probabilities(
    objectives: Sequence[Objective],
    rules: Sequence[FeasibilityRule],
    standings: Sequence[Standing],
    over_seeds: float = 0.0,
) -> dict[str, float]:
    """How probable it is that each trial belongs to the front, by id, given few select prompts and few seeds.

    A trial that has not finished with every objective is left out, and so is one whose probability is not known, since
    nothing is of the error of an objective. See :func:`sweeps.goals.replicates.probability_on_front`;
    ``over_seeds`` is the standard deviation of a rate over training seeds that is allowed for besides.
    """
    able = [one for one in standings if one.feasible is not None]
    rows = [candidate(objectives, rules, one).allowing_for(over_seeds) for one in able]
    found = probability_on_front(rows, [o.goal for o in objectives]).tolist()
    return {one.record.id: chance for one, chance in zip(able, found, strict=True) if not math.isnan(chance)}


def candidate(objectives: Sequence[Objective], rules: Sequence[FeasibilityRule], standing: Standing) -> Candidate:
    """What all seeds of a trial that has finished say of its objectives and of the metrics that rules bound."""

    def estimate(metric: str) -> Estimate:
        finished = standing.seeds.finished
        return estimate_over_seeds(
            [seed.select.metrics.get(metric, math.nan) for seed in finished],
            [seed.select.counts.get(metric) for seed in finished],
            [seed.select.errors.get(metric) for seed in finished],
        )

    return Candidate(
        standing.record.id,
        1 + len(standing.seeds.others),
        tuple(estimate(o.metric) for o in objectives),
        tuple((estimate(rule.metric), rule) for rule in rules),
    )


def front(
    objectives: Sequence[Objective], rules: Sequence[FeasibilityRule], records: Iterable[TrialRecord]
) -> list[TrialRecord]:
    """The searched trials on the front of one model, along the first objective."""
    chosen = [one for one in standings(objectives, rules, records) if one.on_front]
    return [
        one.record
        for one in sorted(chosen, key=lambda one: ([one.metrics[o.metric] for o in objectives], one.record.id))
    ]
