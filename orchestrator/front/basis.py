"""What several models can be compared on: objectives, judges and prompts that they share (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.errors import ComparisonError
from orchestrator.front.outcomes import Prompt
from orchestrator.front.pooling import Answers, Pooled, common_prompts, outcomes_by_seed
from orchestrator.front.recorded_sweep import MeasuredModel
from sweeps.goals.metrics import is_rate
from sweeps.goals.objectives import Objective
from sweeps.schema.spec import SweepSpec

FEW = 30
"""Fewer shared prompts say too little."""
KINDS = ("safety", "utility")
"""What fine-tuning loses and what it gains, as metrics begin."""
NOT_LOST = ("safety/over_refusal", "safety/harmless_refused")
"""Objectives of safety that fine-tuning does not lose."""


@dataclass(frozen=True)
class Compared:
    """One model of one sweep."""

    name: str
    """What it is called beside the others."""
    model: MeasuredModel
    spec: SweepSpec
    """Of its sweep."""
    answers: Answers
    sweep: str | None = None
    """Folder of its sweep; None where all are of one."""
    separations: Sequence[float] | None = None
    """Distance of harmful and harmless prompts along the refusal direction by layer, in the residual stream's unit."""


@dataclass(frozen=True)
class Basis:
    """What is compared."""

    safety: Objective
    utility: Objective
    sentences: tuple[str, ...]
    """What is compared and what is not the same."""
    only: Mapping[str, Sequence[Prompt]] = field(default_factory=dict)
    """Prompts to which a rate is restricted, by metric; metrics that are not here are taken as they were measured."""


def basis(compared: Sequence[Compared]) -> Basis:
    """What all of ``compared`` can be compared on.

    Raises:
        ComparisonError: there is nothing; the text says what differs.
    """
    sentences: list[str] = []
    safety, utility = _objectives(compared)
    safety = _judged_alike(compared, safety, sentences)
    _settings_that_differ(compared, sentences)
    only = {}
    for objective, own_is_enough in ((safety, False), (utility, True)):
        prompts = _prompts(compared, objective.metric, own_is_enough, sentences)
        if prompts is not None:
            only[objective.metric] = prompts
    return Basis(safety, utility, tuple(sentences), only)


def is_comparable(spec: SweepSpec) -> bool:
    """Whether a sweep trades off something that fine-tuning loses against something that it gains."""
    return all(_of(spec, kind) for kind in KINDS)


def _objectives(compared: Sequence[Compared]) -> tuple[Objective, Objective]:
    found = []
    for kind in KINDS:
        shared = [
            objective
            for objective in _of(compared[0].spec, kind)
            if all(objective.metric in [o.metric for o in _of(one.spec, kind)] for one in compared)
        ]
        if not shared:
            each = "; ".join(
                f"{one.name}: {', '.join(objective.metric for objective in one.spec.objectives)}" for one in compared
            )
            raise ComparisonError(
                f"the sweeps have no objective of {kind} in common ({each}): compare sweeps that trade off the same, "
                "or search one of them again with the objectives of the other"
            )
        found.append(shared[0])
    return found[0], found[1]


def _of(spec: SweepSpec, kind: str) -> list[Objective]:
    found = [objective for objective in spec.objectives if objective.metric.startswith(f"{kind}/")]
    return [objective for objective in found if not objective.metric.startswith(NOT_LOST)]


def _judged_alike(compared: Sequence[Compared], safety: Objective, sentences: list[str]) -> Objective:
    """The metric of safety, or what one judge says where only that judge is the same everywhere."""
    judges = [{judge.name: judge.model_dump(mode="json") for judge in one.spec.evaluation.judges} for one in compared]
    if all(each == judges[0] for each in judges):
        return safety
    each = "; ".join(dict.fromkeys(f"{one.name}: {', '.join(own)}" for one, own in zip(compared, judges, strict=True)))
    for name, settings in judges[0].items():
        metric = f"safety/judged/{name}"
        if all(own.get(name) == settings for own in judges) and all(_measured(one, metric) for one in compared):
            sentences.append(
                f"The sweeps have other judges ({each}): safety is attack success by the judge {name} alone, which "
                "all of them asked."
            )
            return Objective(metric=metric, goal="minimize")
    raise ComparisonError(
        f"the sweeps have other judges ({each}), so that {safety.metric} is not the same in them: compare sweeps of "
        "the same evaluation.judges"
    )


def _measured(one: Compared, metric: str) -> bool:
    return all(metric in p.report.metrics for p in (*one.model.references.values(), *one.model.trials))


def _settings_that_differ(compared: Sequence[Compared], sentences: list[str]) -> None:
    for field_name in ("max_new_tokens", "strict", "report_share"):
        values = {one.name: getattr(one.spec.evaluation, field_name) for one in compared}
        if len(set(values.values())) > 1:
            each = ", ".join(f"{value} of {name}" for name, value in values.items())
            sentences.append(f"evaluation.{field_name} is not the same: {each}.")
    rules = {one.name: " and ".join(map(str, one.spec.feasible)) or "none" for one in compared}
    if len(set(rules.values())) > 1:
        each = "; ".join(f"{name}: {rule}" for name, rule in rules.items())
        sentences.append(f"Each front keeps the rules of its own sweep: {each}.")


def _prompts(
    compared: Sequence[Compared], metric: str, own_is_enough: bool, sentences: list[str]
) -> list[Prompt] | None:
    """The prompts that all answered, where these are not all that each was asked; None restricts nothing."""
    asked = {one.name: _asked(one, metric) for one in compared}
    known = {name: prompts for name, prompts in asked.items() if prompts is not None}
    if len(known) < len(compared):
        if is_rate(metric) and len(compared) > 1:
            unknown = ", ".join(name for name, prompts in asked.items() if prompts is None)
            sentences.append(
                f"Whether the prompts behind {metric} are the same is not known: {unknown} left no answers."
            )
        return None
    shared = set.intersection(*map(set, known.values()))
    if all(len(prompts) == len(shared) for prompts in known.values()):
        sentences.append(f"{metric} is compared on {len(shared)} prompts, the same for all, paired.")
        return None
    counts = ", ".join(f"{len(prompts)} of {name}" for name, prompts in known.items())
    if len(shared) >= FEW:
        sentences.append(f"{metric} is compared on the {len(shared)} prompts that all answered ({counts}).")
        return sorted(shared)
    if own_is_enough:
        sentences.append(
            f"The tasks behind {metric} are not the same ({len(shared)} prompts in common: {counts}): each share is of "
            "the gain on the model's own task."
        )
        return None
    raise ComparisonError(
        f"the prompts behind {metric} are not the same ({counts}; {len(shared)} in common, which should be {FEW} at "
        "least): compare sweeps of the same data and evaluation.seed"
    )


def _asked(one: Compared, metric: str) -> list[Prompt] | None:
    """The report prompts behind ``metric``, on which the untouched and the fine-tuned model both have a verdict."""
    measured: list[Pooled] = [one.model.references[label] for label in ("base", "ift") if label in one.model.references]
    tables = [outcomes_by_seed(p.seeds, metric, one.answers) for p in measured]
    if len(tables) < 2 or any(table is None for table in tables):
        return None
    return common_prompts([each for table in tables if table is not None for each in table]) or None
