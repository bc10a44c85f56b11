"""From the records of trials to ``front.json``: who is on each model's Pareto front, and how sure that is (pure)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.front_entries import entry
from orchestrator.importance import importance
from orchestrator.notes import notes
from orchestrator.pooling import Answers, Pooled, pool
from orchestrator.prediction import prediction
from orchestrator.records import Status, TrialRecord
from orchestrator.versus import versus
from sweeps import replicates
from sweeps.objectives import FeasibilityRule, Objective
from sweeps.pareto import hypervolume, non_dominated
from sweeps.replicates import Candidate, Estimate
from sweeps.spec import REFERENCES

if TYPE_CHECKING:
    from sweeps.spec import SweepSpec

FrontDocument = dict[str, Any]
"""What ``front.json`` holds: plain JSON values, no NaN."""

BEST_RULE = "the front trial that dominates the largest volume on its own"


def build_front(
    objectives: Sequence[Objective],
    feasible_rules: Sequence[FeasibilityRule],
    records: Iterable[TrialRecord],
    *,
    answers: Answers | None = None,
    spec: "SweepSpec | None" = None,
) -> FrontDocument:
    """The Pareto front of every model among its FINISHED feasible trials, on the report prompts.

    Args:
        objectives: what the front trades off.
        feasible_rules: bounds a trial must keep to be on the front.
        records: searched trials, replicates and references of all models, in the order in which they shall be listed.
        answers: rows by trial id, from which replicates are pooled and front trials are paired with the references;
            none leaves the pairing out and pools by a wider interval.
        spec: tells what was searched; none leaves out the notes that need it.

    Returns:
        the document of ``front.json``: ``objectives``, ``feasible``, ``notes``, per model ``hypervolume``, ``front``
        and ``selected`` (ids), ``reference``, ``trials``, ``prediction``, ``importance`` and, where the front is
        empty, a ``note``; ``comparison`` where several models ran.
    """
    by_model: dict[str, list[TrialRecord]] = {}
    for record in records:
        by_model.setdefault(record.model, []).append(record)
    if spec is not None:  # which model had the first trial is chance
        order = [model.name for model in spec.models if model.name in by_model]
        by_model = {name: by_model[name] for name in dict.fromkeys([*order, *by_model])}
    document: FrontDocument = {
        "objectives": [{"metric": o.metric, "goal": o.goal, "worst": o.reference} for o in objectives],
        "feasible": [str(rule) for rule in feasible_rules],
        "models": {
            name: _model(objectives, feasible_rules, group, answers or {}, spec) for name, group in by_model.items()
        },
    }
    document["notes"] = notes(document, by_model, spec)
    if len(by_model) > 1:
        document["comparison"] = _comparison(objectives, document["models"])
    return document


def probability_on_front(
    objectives: Sequence[Objective], counts: Sequence[Mapping[str, tuple[float, float]]], seed: int = 0
) -> NDArray[np.float64] | None:
    """How probable it is that each trial is on the front, given that its rates were measured on few prompts.

    The parametric bootstrap of :func:`sweeps.replicates.probability_on_front`, which draws trials independently
    although the same prompts measure them all. One training seed stands for all seeds
    where a trial has no replicates; where it has, its pooled rate counts as many prompts as its interval is worth.
    Feasibility is taken as measured.

    Args:
        objectives: what the front trades off.
        counts: per trial, (successes, total) by metric; ``total`` as many independent prompts as the rate is worth.
        seed: of the draws.

    Returns:
        ``[n]``, or None where an objective has no counts behind it.
    """
    if not counts or any(o.metric not in count for o in objectives for count in counts):
        return None
    candidates = [
        Candidate(str(index), 1, tuple(Estimate.of_rate(*count[o.metric]) for o in objectives))
        for index, count in enumerate(counts)
    ]
    return replicates.probability_on_front(candidates, [o.goal for o in objectives], seed)


def _model(
    objectives: Sequence[Objective],
    rules: Sequence[FeasibilityRule],
    records: Sequence[TrialRecord],
    answers: Answers,
    spec: "SweepSpec | None",
) -> dict[str, Any]:
    everything = pool(records, answers)
    trials = [p for p in everything if p.record.kind == "trial"]
    references = [p for p in everything if p.record.kind == "reference" and p.metrics]
    references.sort(key=lambda p: REFERENCES.index(p.record.label))
    finished = [p for p in trials if p.record.status is Status.FINISHED and _measured(objectives, p.metrics)]
    candidates = [p for p in finished if all(rule.holds(p.metrics) for rule in rules)]
    on_front = _front(objectives, candidates, [p.metrics for p in candidates])
    # The search saw one seed's values on the select prompts; old journals have no split.
    seen = {p.record.id: p.record.select_metrics or p.record.metrics for p in finished}
    kept = [p for p in finished if all(rule.holds(seen[p.record.id]) for rule in rules)]
    selected = _front(objectives, kept, [seen[p.record.id] for p in kept])
    sure = probability_on_front(objectives, [_worth(objectives, p) for p in candidates])
    probability = {} if sure is None else dict(zip(on_front, sure.tolist(), strict=True))
    metrics = [o.metric for o in objectives]
    values = [[p.metrics[metric] for metric in metrics] for p in candidates]
    model: dict[str, Any] = {
        "hypervolume": float(hypervolume(values, [o.goal for o in objectives], [o.reference for o in objectives])),
        "front": [trial for trial, member in on_front.items() if member],
        "selected": [trial for trial, member in selected.items() if member],
        "reference": {p.record.label: entry(p) for p in references},
        "trials": [
            {
                "id": p.record.id,
                **entry(p),
                "on_front": on_front.get(p.record.id, False),
                "selected": selected.get(p.record.id, False),
                "p_on_front": probability.get(p.record.id),
                "feasible": p.record.id in on_front if p in finished else None,
                **(
                    {"versus": versus(p, references, metrics, answers)} if on_front.get(p.record.id) and answers else {}
                ),
            }
            for p in trials
        ],
        "prediction": prediction(objectives, [p.record for p in trials]),
        "importance": importance(objectives, [p.record for p in trials], spec.ranges if spec else None),
    }
    if not model["front"]:
        model["note"] = _why_empty(
            rules, [p.record for p in trials], [replace(p.record, metrics=dict(p.metrics)) for p in finished]
        )
    return model


def _front(
    objectives: Sequence[Objective], trials: Sequence[Pooled], metrics: Sequence[Mapping[str, float]]
) -> dict[str, bool]:
    """Whether each of ``trials`` is on the front of ``metrics``, by id."""
    values = [[found.get(o.metric, math.nan) for o in objectives] for found in metrics]
    # Plain booleans: NumPy scalars are no JSON.
    members = non_dominated(values, [o.goal for o in objectives]).tolist()
    return dict(zip((p.record.id for p in trials), members, strict=True))


def _worth(objectives: Sequence[Objective], trial: Pooled) -> dict[str, tuple[float, float]]:
    counts = {o.metric: trial.effective_count(o.metric) for o in objectives}
    return {metric: count for metric, count in counts.items() if count is not None}


def _measured(objectives: Sequence[Objective], metrics: Mapping[str, float]) -> bool:
    return all(math.isfinite(metrics.get(o.metric, math.nan)) for o in objectives)


def _why_empty(rules: Sequence[FeasibilityRule], trials: Sequence[TrialRecord], finished: Sequence[TrialRecord]) -> str:
    """Why no trial is on the front, and what comes nearest."""
    if not finished:
        tally = ", ".join(f"{count} {status}" for status, count in _statuses(trials)) or "none was started"
        return f"No trial has finished with every objective measured, so there is no front yet ({tally})."
    hardest = max(rules, key=lambda rule: sum(not rule.holds(t.metrics) for t in finished))
    nearest = min(finished, key=lambda t: hardest.violation(t.metrics))
    value = nearest.metrics.get(hardest.metric, math.nan)
    reached = f"comes nearest with {value:.3g}" if math.isfinite(value) else "did not measure it either"
    rules_text = " and ".join(str(rule) for rule in rules)
    return (
        f"None of the {len(finished)} finished trials keeps {rules_text}, so the front is empty: trial {nearest.id} "
        f"{reached} for {hardest.metric}; loosen the rule under feasible, or widen the search."
    )


def _statuses(trials: Sequence[TrialRecord]) -> list[tuple[str, int]]:
    counted = [(status.value, sum(t.status == status for t in trials)) for status in Status]
    return [(status, count) for status, count in counted if count]


def _comparison(objectives: Sequence[Objective], models: Mapping[str, Any]) -> dict[str, Any]:
    """The models side by side; raw hypervolumes share one reference point, so they may be compared."""
    return {
        "best_rule": BEST_RULE,
        "models": {name: _summary(objectives, model) for name, model in models.items()},
    }


def _summary(objectives: Sequence[Objective], model: Mapping[str, Any]) -> dict[str, Any]:
    metrics = [o.metric for o in objectives]
    front = [trial for trial in model["trials"] if trial["on_front"]]
    best = max(front, key=lambda trial: _own_volume(objectives, trial["metrics"]), default=None)
    kept = ("id", "params", "metrics", "intervals")
    return {
        "hypervolume": model["hypervolume"],
        "front_size": len(front),
        **{
            label: {metric: reference["metrics"].get(metric) for metric in metrics}
            for label, reference in model["reference"].items()
        },
        "best": {key: best[key] for key in kept} if best else None,
    }


def _own_volume(objectives: Sequence[Objective], metrics: Mapping[str, float]) -> float:
    values = [[metrics[o.metric] for o in objectives]]
    return float(hypervolume(values, [o.goal for o in objectives], [o.reference for o in objectives]))
