"""Trials against the references, prompt by prompt (pure)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from orchestrator.front.pooling import Answers, Pooled, common_prompts, outcome_table, outcomes_by_seed
from orchestrator.front.schema.entry import PairedComparison
from sweeps.statistics.intervals import holm
from sweeps.statistics.paired import PairedDifference, paired_difference

AGAINST = ("ift", "ift_safety")
"""The references that a constrained trial must beat."""
Compared = Mapping[str, Mapping[str, PairedComparison]]
"""Of one trial, by reference and metric."""


class _Pair(NamedTuple):
    """One comparison before it is known how many there are."""

    found: PairedDifference
    prompts: int
    seeds: tuple[int, int]


def versus(
    trials: Sequence[Pooled], references: Sequence[Pooled], metrics: Sequence[str], answers: Answers
) -> dict[str, Compared]:
    """How the rates ``metrics`` of ``trials`` differ from the references' on the same report prompts.

    All comparisons that come back are one family: whoever looks at the smallest of their p-values has looked at all.

    Returns:
        by trial, reference and metric; what has no outcome by prompt is left out.
    """
    pairs = {trial.record.id: _of_trial(trial, references, metrics, answers) for trial in trials}
    family = [pair.found.p_value for by_label in pairs.values() for one in by_label.values() for pair in one.values()]
    adjusted = iter(holm(family))
    return {
        trial: {
            label: {metric: _comparison(pair, next(adjusted), len(family)) for metric, pair in by_metric.items()}
            for label, by_metric in by_label.items()
        }
        for trial, by_label in pairs.items()
    }


def _comparison(pair: _Pair, p_adjusted: float, comparisons: int) -> PairedComparison:
    return PairedComparison(
        difference=pair.found.mean,
        low=pair.found.low,
        high=pair.found.high,
        p_value=pair.found.p_value,
        prompts=pair.prompts,
        seeds=pair.seeds,
        p_adjusted=p_adjusted,
        comparisons=comparisons,
    )


def _of_trial(
    trial: Pooled, references: Sequence[Pooled], metrics: Sequence[str], answers: Answers
) -> dict[str, dict[str, _Pair]]:
    found: dict[str, dict[str, _Pair]] = {}
    for reference in references:
        if reference.record.label not in AGAINST:
            continue
        pairs = {metric: _pair(trial, reference, metric, answers) for metric in metrics}
        known = {metric: pair for metric, pair in pairs.items() if pair is not None}
        if known:
            found[reference.record.label] = known
    return found


def _pair(trial: Pooled, reference: Pooled, metric: str, answers: Answers) -> _Pair | None:
    # Under the same seed both see the same samples in the same order, so that much of a seed's luck is common to them.
    ours, theirs = (sorted(p.seeds, key=lambda record: record.seed or 0) for p in (trial, reference))
    first = outcomes_by_seed(ours, metric, answers)
    second = outcomes_by_seed(theirs, metric, answers)
    prompts = common_prompts([*first, *second]) if first and second else []
    if not first or not second or not prompts:
        return None
    same_seeds = [record.seed for record in ours] == [record.seed for record in theirs]
    found = paired_difference(outcome_table(first, prompts), outcome_table(second, prompts), same_seeds=same_seeds)
    return _Pair(found, len(prompts), (len(ours), len(theirs)))
