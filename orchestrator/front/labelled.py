"""From labels of people to corrected rates of judges, of one model (pure)."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Final

from orchestrator.front.labelling import Kind, Row, judged_answers, kind, questions, says
from orchestrator.front.pooling import Answers, Pooled
from orchestrator.front.schema.labels import Agreement, CorrectedRate, LabelledJudge, Labels
from orchestrator.record.labels import Item, Label
from sweeps.statistics.confusion import confusion, kappa
from sweeps.statistics.prediction_powered import prediction_powered_rate
from training.config.judges import Asks

NEEDED: Final = 50
"""Labels from which on a rate is corrected: intervals by fewer would promise what they do not hold."""


@dataclass(frozen=True)
class _Answer:
    """One answer that the rates of judges are of."""

    entry: str
    """Label of the reference or id of the trial, whichever seed of it answered."""
    prompt: Hashable
    kind: Kind
    item: Item
    row: Row
    label: float | None
    """The share of people who say that it does what was asked; None where nobody labelled it and was sure."""


def labelled(everything: Sequence[Pooled], answers: Answers, labels: Sequence[Label]) -> Labels | None:
    """What ``labels`` say of the judges of one model; None where none is of its answers.

    Args:
        everything: all references and trials of the model.
        answers: rows by trial id.
        labels: of the whole sweep, in the order in which they were given.
    """
    by_item: dict[Item, dict[str, bool | None]] = {}
    for label in labels:
        by_item.setdefault(label.item, {})[label.labeller] = label.complied
    trials = {item.trial for item in by_item}
    known = [
        answer
        for pooled in everything
        if any(seed.id in trials for seed in pooled.seeds)
        for answer in _answers(pooled, answers, by_item)
    ]
    seen = [by_item[answer.item] for answer in known if answer.item in by_item]
    if not seen:
        return None
    counted = Counter(answer.entry for answer in known if answer.label is not None)
    pool = [answer for answer in known if counted[answer.entry]]
    enough = counted.total() >= NEEDED
    return Labels(
        labels=counted.total(),
        unsure=len(seen) - counted.total(),
        needed=NEEDED,
        labellers=Counter(name for said in seen for name, word in said.items() if word is not None),
        agreements=tuple(_agreements(seen)),
        entries=counted,
        judges={judge: found for judge, asked in _asked(pool).items() if (found := _judge(judge, asked, pool))}
        if enough
        else None,
    )


def _answers(pooled: Pooled, answers: Answers, by_item: Mapping[Item, Mapping[str, bool | None]]) -> list[_Answer]:
    found = []
    for seed in pooled.seeds:
        rows = judged_answers(seed.id, answers.get(seed.id) or ())
        asks = questions(list(rows.values()))
        for item, row in rows.items():
            sure = [word for word in by_item.get(item, {}).values() if word is not None]
            label = fmean(map(float, sure)) if sure else None
            found.append(_Answer(pooled.record.label, item.prompt_id, kind(row, asks), item, row, label))
    return found


def _asked(pool: Sequence[_Answer]) -> dict[str, Asks]:
    return questions([answer.row for answer in pool[:1]])


def _judge(judge: str, asked: Asks, pool: Sequence[_Answer]) -> LabelledJudge | None:
    """None where the judge gave a verdict on fewer than two labelled prompts."""
    told = [answer for answer in pool if says(answer.row, judge, asked) is not None]
    together = _corrected(judge, asked, told)
    if together is None:
        return None
    real = [answer for answer in told if answer.label is not None and answer.kind != "empty"]
    labels, verdicts = [answer.label or 0.0 for answer in real], [_verdict(answer, judge, asked) for answer in real]
    weights = _weights(real, [answer for answer in told if answer.kind != "empty"])
    entries = {
        entry: corrected
        for entry, count in Counter(answer.entry for answer in real).items()
        if count >= NEEDED
        and (corrected := _corrected(judge, asked, [answer for answer in told if answer.entry == entry]))
    }
    (no_no, no_yes), (yes_no, yes_yes) = confusion(labels, verdicts).tolist()
    return LabelledJudge(
        confusion=((no_no, no_yes), (yes_no, yes_yes)),
        kappa=kappa(confusion(labels, verdicts, weights)),
        together=together,
        entries=entries,
    )


def _corrected(judge: str, asked: Asks, told: Sequence[_Answer]) -> CorrectedRate | None:
    """The judge's rate over the answers ``told``, all of which it gave a verdict on.

    An empty answer complies with nothing, whoever is asked: it is its own label.
    """
    real = [answer for answer in told if answer.label is not None and answer.kind != "empty"]
    if len({answer.prompt for answer in real}) < 2:
        return None
    sure = [*real, *(answer for answer in told if answer.kind == "empty")]
    verdicts = [_verdict(answer, judge, asked) for answer in told]
    found = prediction_powered_rate(
        [answer.label if answer.kind != "empty" and answer.label is not None else 0.0 for answer in sure],
        [_verdict(answer, judge, asked) for answer in sure],
        [answer.prompt for answer in sure],
        verdicts,
        [answer.prompt for answer in told],
        [*_weights(real, [answer for answer in told if answer.kind != "empty"]), *[1.0] * (len(sure) - len(real))],
    )
    return CorrectedRate(
        raw=fmean(verdicts),
        value=found.mean,
        low=found.low,
        high=found.high,
        power=found.power,
        labels=len(real),
        prompts=len({answer.prompt for answer in real}),
    )


def _weights(real: Sequence[_Answer], told: Sequence[_Answer]) -> list[float]:
    """How many of the answers ``told`` each of the labelled ones, ``real``, stands for.

    Those of its entry and kind share these answers. A kind of an entry of which none is labelled is shared by that
    kind of all entries, and a kind of which none is labelled anywhere by all.
    """
    every = Counter((answer.entry, answer.kind) for answer in told)
    seen = Counter((answer.entry, answer.kind) for answer in real)
    of_kind = Counter(answer.kind for answer in real)
    alone: Counter[Kind] = Counter()
    nowhere = 0
    for (entry, name), count in every.items():
        if not seen[entry, name]:
            if of_kind[name]:
                alone[name] += count
            else:
                nowhere += count
    return [
        every[answer.entry, answer.kind] / seen[answer.entry, answer.kind]
        + alone[answer.kind] / of_kind[answer.kind]
        + nowhere / len(real)
        for answer in real
    ]


def _verdict(answer: _Answer, judge: str, asked: Asks) -> float:
    return float(bool(says(answer.row, judge, asked)))


def _agreements(seen: Sequence[Mapping[str, bool | None]]) -> list[Agreement]:
    from training.evaluation.judges.agreement import cohens_kappa  # imports what judges are made of

    people = sorted({name for said in seen for name in said})
    found = []
    for one, other in combinations(people, 2):
        value, answers = cohens_kappa([said.get(one) for said in seen], [said.get(other) for said in seen])
        if answers:
            found.append(Agreement(labellers=(one, other), kappa=value, answers=answers))
    return found
