"""What the page draws true values from, as ``procon choose`` does: verdicts by prompt, without any text (pure)."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from orchestrator.front.pooling import Answers, by_trial
from orchestrator.front.resampled import Resampled
from orchestrator.front.schema.document import ModelFront
from orchestrator.record.trials import TrialRecord
from sweeps.goals.replicates import Estimate

PAIRED = 100
"""Trials of a model whose verdicts are on the page, those nearest to the front; others are drawn by their counts."""

Json = dict[str, Any]


def outcome_data(
    body: ModelFront,
    records: Iterable[TrialRecord],
    answers: Answers,
    metrics: Collection[str],
    numbers: dict[Any, int],
) -> tuple[dict[str, list[int]], dict[str, Json]]:
    """The prompts that each rate is over, and by reference or trial what is known of each metric.

    Args:
        body: the model's front, which says who is near it.
        records: of the model.
        answers: rows by trial id.
        metrics: what the page shows.
        numbers: number of every prompt, which prompts that are met here are added to.

    Returns:
        (numbers of the prompts by metric,
        ``[kind, …]`` by metric, by label or id). The kinds: ``prompts`` with the name and the verdicts of each training
        seed, three prompts a letter (0 unknown, 1 no, 2 yes, ``A`` is 000); ``rate`` with successes and total; ``mean``
        with value and standard error; ``seeds`` with value, error and degrees of freedom.
    """
    near = sorted(body.trials, key=lambda trial: (trial.on_front, trial.p_on_front or 0.0), reverse=True)
    paired = {trial.id for trial in near[:PAIRED]}
    resampled = Resampled(answers)
    asked: dict[str, dict[Any, None]] = {}
    known: dict[str, dict[str, Any]] = {}
    for trial in by_trial(records):
        own, seeds = trial.record, trial.finished
        is_reference = own.kind == "reference"
        resampled_here = resampled if is_reference or own.id in paired else Resampled({})
        for metric in metrics if seeds else ():
            found = resampled_here.known(seeds, metric)
            if found is None:
                continue
            known.setdefault(own.label if is_reference else own.id, {})[metric] = (found, seeds)
            if not isinstance(found, Estimate):
                asked.setdefault(metric, {}).update(dict.fromkeys(found[1]))
    for prompts in asked.values():
        for prompt in prompts:
            numbers.setdefault(prompt, len(numbers))
    told = {
        name: {metric: _told(found, seeds, list(asked.get(metric, ()))) for metric, (found, seeds) in values.items()}
        for name, values in known.items()
    }
    return {metric: [numbers[prompt] for prompt in prompts] for metric, prompts in asked.items()}, told


def _told(found: Any, seeds: Sequence[TrialRecord], prompts: Sequence[Any]) -> list[Any]:
    if isinstance(found, Estimate):
        if found.count is not None:
            return ["rate", *(float(f"{value:.6g}") for value in found.count)]
        value, error = (float(f"{v:.6g}") for v in (found.value, found.error or 0.0))
        return ["mean", value, error] if found.over_samples else ["seeds", value, error, found.seeds - 1]
    table, own = found
    rows = []
    for seed, row in zip(seeds, table, strict=True):
        verdicts = dict(zip(own, row, strict=True))
        trits = [0 if prompt not in verdicts else 2 if verdicts[prompt] else 1 for prompt in prompts]
        trits += [0] * (-len(trits) % 3)
        letters = "".join(chr(65 + 9 * a + 3 * b + c) for a, b, c in zip(*[iter(trits)] * 3, strict=True))
        rows.append([seed.id if seed.seed is None else str(seed.seed), letters])
    return ["prompts", *rows]
