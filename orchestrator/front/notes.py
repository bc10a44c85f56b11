"""The doctor for sweeps: what went wrong or deserves a second look, in short sentences (pure)."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from orchestrator.front.answer_notes import first_sentences, unanswered
from orchestrator.front.examined import Examined
from orchestrator.front.label_notes import labels
from orchestrator.front.schema.document import FrontDocument
from orchestrator.front.schema.explanations import Note
from orchestrator.front.search_notes import boundary, importance, pruning
from orchestrator.record.trials import Status, TrialRecord
from sweeps.statistics.pareto import non_dominated

if TYPE_CHECKING:
    from sweeps.schema.spec import SweepSpec

FEW_PROMPTS = 30
LOW_KAPPA = 0.6
MANY_UNKNOWN = 0.01
LOW_COHERENCE = 0.9
IDLE = 0.25
PAUSE_SECONDS = 60.0
"""A longer time in which nothing ran is a pause between two runs of the sweep rather than idleness."""


Check = Callable[[Examined], Iterator[str]]


@dataclass(frozen=True)
class Idle:
    """What the slots did."""

    slots: int
    """The most trials that ran at once."""
    idle: float
    """Share of the slots' time in which they ran no trial, between 0 and 1."""


def notes(front: FrontDocument, records: Mapping[str, Sequence[TrialRecord]], spec: "SweepSpec | None") -> list[Note]:
    """What deserves a second look after a sweep.

    Args:
        front: the sweep's front; notes that it holds already are passed over.
        records: all records by model.
        spec: what was asked for; None leaves out the checks that need it.

    Returns:
        what matters most comes first.
    """
    examined = [Examined(model, front, group, spec) for model, group in records.items()]
    found = [
        Note(check=name, model=one.model, sentence=sentence)
        for name, check in CHECKS.items()
        for one in examined
        for sentence in check(one)
    ]
    everything = [record for group in records.values() for record in group]
    return found + [Note(check="idle slots", model=None, sentence=text) for text in _idle(everything)]


def _nothing_feasible(sweep: Examined) -> Iterator[str]:
    finished = sweep.body.finished
    if finished and not any(trial.feasible for trial in finished):
        yield (
            f"nothing is feasible: none of {len(finished)} measured models keeps "
            f"{' and '.join(map(str, sweep.front.feasible))}, so the search had no front to improve"
        )


def _failed(sweep: Examined) -> Iterator[str]:
    reasons = Counter(
        (record.error or "unknown").strip().splitlines()[-1]
        for record in sweep.records
        if record.status is Status.FAILED
    )
    if reasons:
        (reason, count), total = reasons.most_common(1)[0], sum(reasons.values())
        share = f"{count} of them" if count < total else "all" if total > 1 else "the reason"
        yield f"{total} trial{'s' if total > 1 else ''} failed; {share}: {reason}"


def _fewer_workers(sweep: Examined) -> Iterator[str]:
    wanted = sweep.spec.resources.workers if sweep.spec is not None else 0
    had = {record.id: record.report.metrics.get("train/workers", wanted) for record in sweep.records}
    fewer = {trial: int(workers) for trial, workers in had.items() if workers < wanted}
    if fewer:
        named = ", ".join(f"{trial} ({workers})" for trial, workers in sorted(fewer.items()))
        yield (
            f"{len(fewer)} trial{'s' if len(fewer) > 1 else ''} ended with fewer than {wanted} workers, after nodes "
            f"were lost: {named}; batches and optimizer states were the same, sums were rounded in another order"
        )


def _smaller_batches(sweep: Examined) -> Iterator[str]:
    had = {record.id: record.report.metrics.get("train/micro_batch_size") for record in sweep.records}
    smaller = [f"{trial} ({size:.0f})" for trial, size in sorted(had.items()) if size is not None]
    if smaller:
        yield (
            f"{len(smaller)} trial{'s were' if len(smaller) > 1 else ' was'} trained with smaller micro-batches than "
            f"asked for, since memory ran out: {', '.join(smaller)}; global batches were the same, sums were rounded "
            "in another order. trial.micro_batch_size of as many saves the attempts"
        )


def _constant_objective(sweep: Examined) -> Iterator[str]:
    finished = sweep.body.finished
    for metric in sweep.front.metrics:
        values = {trial.select.metrics[metric] for trial in finished}  # what the search saw
        if len(finished) >= 3 and len(values) == 1:
            yield (
                f"objective {metric} is constant: all {len(finished)} finished trials have {values.pop():.3g}: "
                "nothing could be searched for it; give it harder prompts or take another objective"
            )


def _few_prompts(sweep: Examined) -> Iterator[str]:
    counted = [(t, counts) for t in sweep.body.finished for counts in (t.counts, t.select.counts)]
    for metric in dict.fromkeys([*sweep.front.metrics, *sweep.front.bounded]):
        totals = [counts[metric][1] / max(1, t.replicates) for t, counts in counted if metric in counts]
        if totals and min(totals) < FEW_PROMPTS:
            half = " a half" if sweep.front.split else ""
            yield (
                f"{metric} rests on {min(totals):.0f} prompts{half}: below {FEW_PROMPTS} its intervals are too wide "
                "to rank trials; raise the number under evaluation"
            )


def _unsure_front(sweep: Examined) -> Iterator[str]:
    sure = [trial.p_on_front for trial in sweep.body.members if trial.p_on_front is not None]
    unsure = sum(p < 0.5 for p in sure)
    if len(sure) >= 3 and unsure > len(sure) / 2:
        yield (
            f"{unsure} of {len(sure)} trials on the front are there with a probability below one half: more prompts or "
            "replicates (seeds.replicates_on_front) would settle who belongs"
        )


def _unknown_doubt(sweep: Examined) -> Iterator[str]:
    members = sweep.body.members
    if members and all(trial.p_on_front is None for trial in members):
        known = {name for trial in members for name in (*trial.counts, *trial.errors)}
        unknown = [metric for metric in sweep.front.metrics if metric not in known]
        if unknown:
            yield (
                f"how sure the front is cannot be told: one seed gives {' and '.join(unknown)} no error; "
                "seeds.replicates_on_front repeats what looks best"
            )


def _select_and_report(sweep: Examined) -> Iterator[str]:
    members = sweep.body.members
    doubtful = [trial for trial in members if trial.doubt]
    if len(members) >= 2 and len(doubtful) > len(members) / 2:
        yield (
            f"select and report disagree: on the report prompts {len(doubtful)} of the {len(members)} trials on "
            "the front break a rule or are beaten by another member; more prompts would steady both"
        )


def _judges(sweep: Examined) -> Iterator[str]:
    entries = [entry for _, entry in sweep.shown]
    for name in dict.fromkeys(name for entry in entries for name in entry.metrics):
        values = [value for entry in entries if (value := entry.metrics.get(name)) is not None]
        if name.startswith("judges/kappa/") and values and fmean(values) < LOW_KAPPA:
            first, second = name.removeprefix("judges/kappa/").split("/", 1)
            yield (
                f"the judges {first} and {second} disagree (mean kappa {fmean(values):z.2f}): "
                f"{_read_answers(sweep)} before trusting either"
            )
        if name.startswith("safety/unknown/") and values and max(values) > MANY_UNKNOWN:
            yield (
                f"the judge {name.removeprefix('safety/unknown/')} left up to {max(values):.0%} of the answers of a "
                "trial without a verdict: its rates rest on the others"
            )


def _read_answers(sweep: Examined) -> str:
    """How to read answers on which judges differ, which takes more where their texts were not kept."""
    models = {model.name: model for model in sweep.spec.models} if sweep.spec is not None else {}
    model = models.get(sweep.model)
    if model is None or sweep.spec is None or sweep.spec.evaluation.keeps_text(embedded=model.embedded):
        return "read answers on which they differ (procon answers)"
    return (
        "read answers on which they differ, whose texts were not kept (evaluation.keep_answers: true keeps them; "
        "procon reproduce --answers gives those of one trial)"
    )


def _coherence(sweep: Examined) -> Iterator[str]:
    members = sweep.body.members
    measured = [(t.metrics.get("utility/coherence"), t.id) for t in members]
    low = [(value, trial) for value, trial in measured if value is not None and value < LOW_COHERENCE]
    if low:
        value, worst = min(low, key=lambda one: one[0])
        yield (
            f"{len(low)} of {len(members)} trials on the front give degenerate answers (trial {worst}: "
            f"only {value:.0%} coherent): such a model is not safe, it is broken"
        )


def _scaled_references(sweep: Examined) -> Iterator[str]:
    """Whether what costs no training beats the front, by the report prompts, as everything that is shown."""
    members = sweep.body.members
    objectives = sweep.front.objectives
    for label, one in (sweep.body.scaled_references or {}).items():
        rows = [[entry.metrics.get(o.metric) for o in objectives] for entry in (one, *members)]
        values = [[math.nan if value is None else value for value in row] for row in rows]
        goals = [objective.goal for objective in objectives]
        beaten = [
            m for m, row in zip(members, values[1:], strict=True) if not non_dominated([values[0], row], goals)[1]
        ]
        if beaten:
            yield (
                f"{label}, a reference scaled, which takes neither training nor search, beats {len(beaten)} of the "
                f"{len(members)} members of the front on the report prompts (such as {beaten[0].id})"
            )


def _idle(records: Sequence[TrialRecord]) -> Iterator[str]:
    share = idle_share(records)
    if share is not None and share.idle > IDLE:
        yield (
            f"{share.slots} slots stood idle {share.idle:.0%} of the time: trials of unequal length or a slow start; "
            "fewer slots (resources.max_concurrent) would have done"
        )


def idle_share(records: Sequence[TrialRecord]) -> Idle | None:
    """One minus the trials' time over the slots' time, from the first start to the last end.

    There are as many slots as the most trials that ran at once until then, so that one whose node came late was not
    idle before; one that is lost has its trial, which waits. Pauses of the whole sweep are left out.

    Returns:
        None where fewer than two trials ran at once at any time, since one slot is never idle by this measure.
    """
    trained = [record for record in records if record.scaled_of is None]
    spans = sorted((r.started, r.finished) for r in trained if r.finished is not None and r.finished > r.started)
    if not spans:
        return None
    changes = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    running = most = 0
    busy = held = 0.0
    before = changes[0][0]
    for at, change in changes:  # at one moment an end comes before a start: a slot that goes on is one slot
        if running or at - before <= PAUSE_SECONDS:
            held += most * (at - before)
        busy += running * (at - before)
        running += change
        most, before = max(most, running), at
    return Idle(most, 1 - busy / held) if most > 1 and held > 0 else None


CHECKS: Mapping[str, Check] = {
    "nothing feasible": _nothing_feasible,
    "failed trials": _failed,
    "fewer workers": _fewer_workers,
    "smaller batches": _smaller_batches,
    "constant objective": _constant_objective,
    "few prompts": _few_prompts,
    "unsure front": _unsure_front,
    "unknown doubt": _unknown_doubt,
    "select and report": _select_and_report,
    "judges": _judges,
    "labels": labels,
    "coherence": _coherence,
    "scaled references": _scaled_references,
    "answers": unanswered,
    "first sentences": first_sentences,
    "search boundary": boundary,
    "importance": importance,
    "pruning": pruning,
}
