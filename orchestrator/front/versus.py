"""Trials against the references, prompt by prompt (pure)."""

from collections.abc import Sequence
from typing import Any

from orchestrator.front.pooling import Answers, Pooled, common_prompts, outcome_table, outcomes_by_seed
from sweeps.statistics.intervals import holm
from sweeps.statistics.paired import paired_difference

AGAINST = ("ift", "ift_safety")
"""The references that a constrained trial must beat."""
Compared = dict[str, dict[str, dict[str, Any]]]
"""Of one trial, by reference and metric: what :func:`versus` returns."""


def versus(
    trials: Sequence[Pooled], references: Sequence[Pooled], metrics: Sequence[str], answers: Answers
) -> dict[str, Compared]:
    """How the rates ``metrics`` of ``trials`` differ from the references' on the same report prompts.

    All comparisons that come back are one family: whoever looks at the smallest of their p-values has looked at all.

    Returns:
        by trial, reference and metric ``difference`` (trial minus reference), its 95 % interval ``low`` and ``high``,
        ``p_value`` as if it were the only comparison, ``p_adjusted`` for all of them (Holm), ``comparisons``, their
        number, ``prompts``, the number of common prompts, and ``seeds`` of the trial and of the reference; what has
        no outcome by prompt is left out.
    """
    found = {trial.record.id: _of_trial(trial, references, metrics, answers) for trial in trials}
    family = [one for compared in found.values() for by_metric in compared.values() for one in by_metric.values()]
    for one, adjusted in zip(family, holm([one["p_value"] for one in family]), strict=True):
        one |= {"p_adjusted": adjusted, "comparisons": len(family)}
    return found


def _of_trial(trial: Pooled, references: Sequence[Pooled], metrics: Sequence[str], answers: Answers) -> Compared:
    found: Compared = {}
    for reference in references:
        if reference.record.label not in AGAINST:
            continue
        compared = {metric: _compared(trial, reference, metric, answers) for metric in metrics}
        known = {metric: one for metric, one in compared.items() if one is not None}
        if known:
            found[reference.record.label] = known
    return found


def _compared(trial: Pooled, reference: Pooled, metric: str, answers: Answers) -> dict[str, Any] | None:
    # Under the same seed both see the same samples in the same order, so that much of a seed's luck is common to them.
    ours, theirs = (sorted(p.seeds, key=lambda record: record.seed or 0) for p in (trial, reference))
    first = outcomes_by_seed(ours, metric, answers)
    second = outcomes_by_seed(theirs, metric, answers)
    prompts = common_prompts([*first, *second]) if first and second else []
    if not first or not second or not prompts:
        return None
    same_seeds = [record.seed for record in ours] == [record.seed for record in theirs]
    found = paired_difference(outcome_table(first, prompts), outcome_table(second, prompts), same_seeds=same_seeds)
    return {
        "difference": found.mean,
        "low": found.low,
        "high": found.high,
        "p_value": found.p_value,
        "prompts": len(prompts),
        "seeds": [len(ours), len(theirs)],
    }
