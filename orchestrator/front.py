"""From the records of trials to ``front.json``: who is on each model's Pareto front, and how sure that is (pure)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.records import Status, TrialRecord
from sweeps.objectives import FeasibilityRule, Objective
from sweeps.pareto import hypervolume, non_dominated
from sweeps.spec import REFERENCES
from sweeps.statistics import wilson_interval

FrontDocument = dict[str, Any]
"""What ``front.json`` holds: plain JSON values, no NaN."""

BOOTSTRAP_DRAWS = 1000
BEST_RULE = "the front trial that dominates the largest volume on its own"


def build_front(
    objectives: Sequence[Objective], feasible_rules: Sequence[FeasibilityRule], records: Iterable[TrialRecord]
) -> FrontDocument:
    """The Pareto front of every model among its FINISHED feasible trials.

    Args:
        objectives: what the front trades off.
        feasible_rules: bounds a trial must keep to be on the front.
        records: searched trials and references of all models, in the order in which they shall be listed.

    Returns:
        the document of ``front.json``: ``objectives``, ``feasible``, per model ``hypervolume``, ``front`` (ids),
        ``reference``, ``trials`` and, where the front is empty, a ``note``; ``comparison`` where several models ran.
    """
    by_model: dict[str, list[TrialRecord]] = {}
    for record in records:
        by_model.setdefault(record.model, []).append(record)
    document: FrontDocument = {
        "objectives": [{"metric": o.metric, "goal": o.goal, "worst": o.reference} for o in objectives],
        "feasible": [str(rule) for rule in feasible_rules],
        "models": {name: _model(objectives, feasible_rules, group) for name, group in by_model.items()},
    }
    if len(by_model) > 1:
        document["comparison"] = _comparison(objectives, document["models"])
    return document


def probability_on_front(
    objectives: Sequence[Objective], counts: Sequence[Mapping[str, tuple[int, int]]], seed: int = 0
) -> NDArray[np.float64] | None:
    """How probable it is that each trial is on the front, given that its rates were measured on few prompts.

    A parametric bootstrap: every rate is redrawn ``BOOTSTRAP_DRAWS`` times from its Jeffreys posterior
    Beta(successes + 1/2, failures + 1/2) and the share of draws in which the trial is non-dominated is returned.
    Trials are drawn independently although the same prompts measure them all, and one training seed stands for all
    seeds: replicates say more. Feasibility is taken as measured.

    Args:
        objectives: what the front trades off.
        counts: per trial, (successes, total) by metric.
        seed: of the draws.

    Returns:
        ``[n]``, or None where an objective has no counts behind it.
    """
    if not counts or any(o.metric not in count for o in objectives for count in counts):
        return None
    table = np.array([[count[o.metric] for o in objectives] for count in counts], dtype=np.float64)
    successes, totals = table[..., 0], table[..., 1]
    generator = np.random.default_rng(seed)
    shape = (BOOTSTRAP_DRAWS, *successes.shape)
    draws = generator.beta(successes + 0.5, totals - successes + 0.5, size=shape)
    goals = [o.goal for o in objectives]
    share: NDArray[np.float64] = np.mean([non_dominated(draw, goals) for draw in draws], axis=0, dtype=np.float64)
    return share


def _model(
    objectives: Sequence[Objective], rules: Sequence[FeasibilityRule], records: Sequence[TrialRecord]
) -> dict[str, Any]:
    trials = [record for record in records if record.kind == "trial"]
    references = [record for record in records if record.kind == "reference" and record.metrics]
    finished = [t for t in trials if t.status == Status.FINISHED and _measured(objectives, t)]
    candidates = [t for t in finished if all(rule.holds(t.metrics) for rule in rules)]
    values = [[t.metrics[o.metric] for o in objectives] for t in candidates]
    goals = [o.goal for o in objectives]
    # Plain floats throughout: NumPy scalars are no JSON.
    on_front = dict(zip((t.id for t in candidates), non_dominated(values, goals).tolist(), strict=True))
    sure = probability_on_front(objectives, [t.counts for t in candidates])
    probability = {} if sure is None else dict(zip(on_front, sure.tolist(), strict=True))
    model: dict[str, Any] = {
        "hypervolume": float(hypervolume(values, goals, [o.reference for o in objectives])),
        "front": [trial for trial, member in on_front.items() if member],
        "reference": {r.label: _entry(r) for r in sorted(references, key=lambda r: REFERENCES.index(r.label))},
        "trials": [
            {
                "id": trial.id,
                **_entry(trial),
                "on_front": on_front.get(trial.id, False),
                "p_on_front": probability.get(trial.id),
                "feasible": trial.id in on_front if trial in finished else None,
            }
            for trial in trials
        ],
    }
    if not model["front"]:
        model["note"] = _why_empty(rules, trials, finished)
    return model


def _entry(record: TrialRecord) -> dict[str, Any]:
    """What references and trials have in common."""
    entry: dict[str, Any] = {
        "status": str(record.status),
        "params": dict(record.params),
        "metrics": {name: value if math.isfinite(value) else None for name, value in record.metrics.items()},
        "intervals": {name: list(wilson_interval(*count)) for name, count in record.counts.items()},
        "counts": {name: list(count) for name, count in record.counts.items()},
    }
    return entry | ({"error": record.error} if record.error else {})


def _measured(objectives: Sequence[Objective], record: TrialRecord) -> bool:
    return all(math.isfinite(record.metrics.get(o.metric, math.nan)) for o in objectives)


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
