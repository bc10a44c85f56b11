"""From the records of trials to ``front.json``: who is on each model's Pareto front, and how sure that is (pure)."""

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from orchestrator.errors import ComparisonError
from orchestrator.front.basis import Compared, is_comparable
from orchestrator.front.choice import choose, default_rule
from orchestrator.front.comparison import compare
from orchestrator.front.entries import entry, trial_entry
from orchestrator.front.importance import importance
from orchestrator.front.labelled import labelled
from orchestrator.front.membership import Standing, Verdict, members, probabilities, standings
from orchestrator.front.notes import notes
from orchestrator.front.pooling import Answers, Pooled, pool
from orchestrator.front.prediction import prediction
from orchestrator.front.recorded_sweep import MeasuredModel
from orchestrator.front.resampled import Resampled
from orchestrator.front.schema.document import (
    VERSION,
    BestTrial,
    Comparison,
    FrontDocument,
    ModelFront,
    ModelSummary,
)
from orchestrator.front.schema.entry import OnReport
from orchestrator.front.schema.shared import SharedSteps
from orchestrator.front.settled import settled
from orchestrator.front.verdict import Arms
from orchestrator.front.versus import versus
from orchestrator.record.labels import Label, labels_digest
from orchestrator.record.trials import Status, TrialRecord
from sweeps.goals.objectives import FeasibilityRule, Objective
from sweeps.schema.arms import CONSTRAINT
from sweeps.schema.spec import REFERENCES
from sweeps.statistics.pareto import hypervolume, non_dominated

if TYPE_CHECKING:
    from sweeps.schema.spec import SweepSpec

NEAR = 0.01
"""A trial with no more than this probability of being on the front is taken to be off it."""
BEST_RULE = "the front trial that dominates the largest volume on its own, by the select prompts"


def build_front(
    objectives: Sequence[Objective],
    feasible_rules: Sequence[FeasibilityRule],
    records: Iterable[TrialRecord],
    *,
    answers: Answers | None = None,
    spec: "SweepSpec | None" = None,
    separations: Mapping[str, Sequence[float]] | None = None,
    labels: Sequence[Label] = (),
) -> FrontDocument:
    """The Pareto front of every model among its FINISHED feasible trials: chosen on select, shown on report prompts.

    Who is on the front is what :mod:`orchestrator.front.membership` says.

    Args:
        objectives: what the front trades off.
        feasible_rules: bounds a trial must keep to be on the front.
        records: searched trials, replicates and references of all models, in the order in which they shall be listed.
        answers: rows by trial id, from which replicates are pooled and front trials are paired with the references;
            None leaves the pairing out and pools by a wider interval.
        spec: tells what was searched; None leaves out the notes and the comparison of models that need it.
        separations: distance of harmful from harmless prompts along the direction by model and layer, in whose units
            the strengths of constraints are compared.
        labels: what people say of answers, by which the rates of judges are corrected.

    Returns:
        what ``front.json`` holds.
    """
    by_model: dict[str, list[TrialRecord]] = {}
    listed = list(records)
    for record in listed:
        by_model.setdefault(record.model, []).append(record)
    if spec is not None:  # which model had the first trial is chance
        order = [model.name for model in spec.models if model.name in by_model]
        by_model = {name: by_model[name] for name in dict.fromkeys([*order, *by_model])}
    known = answers or {}
    pooled = {name: pool(group, known) for name, group in by_model.items()}
    models = {
        name: _model(objectives, feasible_rules, group, pooled[name], known, spec, labels)
        for name, group in by_model.items()
    }
    compared = [
        Compared(
            name, MeasuredModel.of(name, group, pooled[name]), spec, known, separations=(separations or {}).get(name)
        )
        for name, group in by_model.items()
        if spec is not None
    ]
    document = FrontDocument(
        version=VERSION,
        objectives=tuple(Objective(metric=o.metric, goal=o.goal, worst=o.reference) for o in objectives),
        feasible=tuple(feasible_rules),
        chosen_on=_chosen_on(listed),
        models=models,
        notes=(),
        comparison=_comparison(objectives, models, compared) if len(models) > 1 else None,
        labelled=labels_digest(labels),
    )
    return document.model_copy(update={"notes": tuple(notes(document, by_model, spec))})


def _model(
    objectives: Sequence[Objective],
    rules: Sequence[FeasibilityRule],
    records: Sequence[TrialRecord],
    everything: Sequence[Pooled],
    answers: Answers,
    spec: "SweepSpec | None",
    labels: Sequence[Label],
) -> ModelFront:
    measured = [p for p in everything if p.record.kind == "reference" and p.report.metrics]
    references = [p for p in measured if p.record.scaled_of is None]
    references.sort(key=lambda p: _place(p.record.label))
    scaled_references = [p for p in measured if p.record.scaled_of is not None]
    standing = {one.record.id: one for one in standings(objectives, rules, records)}
    trials = [p for p in everything if p.record.id in standing]
    probability = probabilities(objectives, rules, list(standing.values()))
    finished = [p for p in trials if standing[p.record.id].feasible is not None]
    reported = members(objectives, rules, [p.report.metrics for p in finished])
    on_report = {p.record.id: one for p, one in zip(finished, reported, strict=True)}
    front = [p for p in finished if standing[p.record.id].on_front]
    kept = [p for p in front if on_report[p.record.id].feasible]
    metrics = [o.metric for o in objectives]
    compared = versus(front, references, metrics, answers) if answers else {}
    searched = [p.record for p in trials if p.record.kind == "trial"]
    constrained = [record for record in searched if record.arm == CONSTRAINT]
    resampled = Resampled(answers)
    near = {one for one, chance in probability.items() if chance > NEAR} | {p.record.id for p in front}
    near |= {trial for trial, one in on_report.items() if one.on_front}
    membership = settled(objectives, rules, finished, near, resampled) if probability else {}
    arms = Arms(objectives, rules, everything, standing, resampled) if len(constrained) < len(searched) else None
    return ModelFront(
        hypervolume=_volume(objectives, [p.report.metrics for p in kept]),
        front=tuple(p.record.id for p in front),
        front_on_report=tuple(trial for trial, one in on_report.items() if one.on_front),
        reference={p.record.label: entry(p) for p in references},
        scaled_references={p.record.label: entry(p) for p in scaled_references} or None,
        trials=tuple(
            trial_entry(
                p,
                on_front=standing[p.record.id].on_front,
                p_on_front=probability.get(p.record.id),
                feasible=standing[p.record.id].feasible,
                on_report=_on_report(objectives, p, kept, on_report.get(p.record.id)),
                versus=compared.get(p.record.id),
                membership=membership.get(p.record.id),
            )
            for p in trials
        ),
        prediction=tuple(prediction(objectives, searched)),
        importance=importance(objectives, constrained, spec.ranges if spec else None),
        note=None if front else _why_empty(rules, searched, [standing[p.record.id] for p in finished]),
        choice=choose(
            default_rule(objectives, rules),
            objectives,
            finished,
            {p.record.label: p for p in references},
            resampled,
        ),
        arms=arms.fronts if arms else None,
        verdict=arms.verdict() if arms else None,
        steps=_shared_steps(searched),
        labels=labelled([*references, *trials], answers, labels) if labels else None,
    )


def _shared_steps(searched: Sequence[TrialRecord]) -> SharedSteps | None:
    """What the trials ``searched`` trained and shared; None where none began from another."""
    forks = [record for record in searched if record.forked_from is not None]
    if not forks:
        return None
    trained = sum(max(0, record.reached - record.forked_at) for record in searched)
    return SharedSteps(forks=len(forks), shared=sum(record.forked_at for record in forks), trained=trained)


def _place(label: str) -> int:
    """Of a reference among others; one that only another version has comes last."""
    return REFERENCES.index(label) if label in REFERENCES else len(REFERENCES)


def _on_report(
    objectives: Sequence[Objective], trial: Pooled, kept: Sequence[Pooled], verdict: Verdict | None
) -> OnReport | None:
    """What the report prompts say of a trial that has finished: its rules, and which members, of ``kept``, beat it."""
    if verdict is None:
        return None
    ahead = [m.record.id for m in kept if _dominates(objectives, m.report.metrics, trial.report.metrics)]
    return OnReport(feasible=verdict.feasible, behind=tuple(ahead))


def _dominates(objectives: Sequence[Objective], one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    rows = [[metrics[o.metric] for o in objectives] for metrics in (one, other)]
    return not non_dominated(rows, [o.goal for o in objectives])[1]


def _why_empty(rules: Sequence[FeasibilityRule], trials: Sequence[TrialRecord], finished: Sequence[Standing]) -> str:
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
        f"None of the {len(finished)} measured models keeps {rules_text}, so the front is empty: trial "
        f"{nearest.record.id} {reached} for {hardest.metric}; loosen the rule under feasible, or widen the search."
    )


def _statuses(trials: Sequence[TrialRecord]) -> list[tuple[str, int]]:
    counted = [(status.value, sum(t.status == status for t in trials)) for status in Status]
    return [(status, count) for status, count in counted if count]


def _comparison(
    objectives: Sequence[Objective], models: Mapping[str, ModelFront], compared: Sequence[Compared]
) -> Comparison:
    """The models side by side; raw hypervolumes share one reference point, so they may be compared."""
    normalised = None
    if compared and is_comparable(compared[0].spec):
        with contextlib.suppress(ComparisonError):  # hardly a verdict in common: the raw values have to do
            normalised = compare(compared)
    return Comparison(
        best_rule=BEST_RULE,
        models={name: _summary(objectives, model) for name, model in models.items()},
        normalised=normalised,
    )


def _summary(objectives: Sequence[Objective], model: ModelFront) -> ModelSummary:
    metrics = [o.metric for o in objectives]
    # Chosen as the front itself is: the best of the values that are shown would be the luckiest.
    best = max(model.members, key=lambda trial: _volume(objectives, [trial.select.metrics]), default=None)
    references = {
        label: {metric: reference.metrics.get(metric) for metric in metrics}
        for label, reference in model.reference.items()
    }
    return ModelSummary(
        hypervolume=model.hypervolume,
        front_size=len(model.members),
        base=references.get("base"),
        ift=references.get("ift"),
        ift_safety=references.get("ift_safety"),
        best=best and BestTrial(id=best.id, params=best.params, metrics=best.metrics, intervals=best.intervals),
    )


def _volume(objectives: Sequence[Objective], measured: Sequence[Mapping[str, float | None]]) -> float:
    values = [[math.nan if (v := metrics[o.metric]) is None else v for o in objectives] for metrics in measured]
    return float(hypervolume(values, [o.goal for o in objectives], [o.reference for o in objectives]))


def _chosen_on(records: Iterable[TrialRecord]) -> Literal["select", "all"]:
    """``select``, or ``all`` where the prompts were not split, so that the values shown are those chosen by."""
    split = any(_differ(record.select.metrics, record.report.metrics) for record in records)
    return "select" if split else "all"


def _differ(select: Mapping[str, float], report: Mapping[str, float]) -> bool:
    """Whether a metric that both halves have has two values; what a trial took, the report alone tells."""
    pairs = [(select[name], report[name]) for name in select.keys() & report.keys()]
    return any(seen != shown and not (math.isnan(seen) and math.isnan(shown)) for seen, shown in pairs)
