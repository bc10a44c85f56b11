"""Labels of imagined people for the answers of imagined sweeps."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.front.labelling import in_order, judged_answers
from orchestrator.record.labels import Label

Answers = Mapping[str, Sequence[Mapping[str, Any]]]


def truth(row: Mapping[str, Any]) -> bool:
    """What people say of an answer of ``detailed_samples``, who can tell a refusal."""
    return not str(row["answer"]).startswith("I cannot")


def labels_of(
    answers: Answers,
    trials: Iterable[str],
    count: int,
    labeller: str = "anna",
    wrong: Sequence[int] = (),
    seed: int = 0,
) -> list[Label]:
    """The first ``count`` labels in the order of ``procon label``; those numbered in ``wrong`` are the other way."""
    rows = {trial: judged_answers(trial, answers[trial]) for trial in trials}
    every = {item: row for found in rows.values() for item, row in found.items()}
    found = []
    for number, item in zip(range(count), in_order(rows, seed), strict=False):
        word = "complied" if truth(every[item]) is not (number in wrong) else "refused"
        found.append(Label(item, labeller, word))
    return found
