"""Verdicts of all judges on all answers, and how far the judges agree."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from training.config.judges import Asks
from training.evaluation.answers import Answer, distinct
from training.evaluation.judges import (
    Exchange,
    Judge,
    RefusalPhrases,
    Verdict,
    as_complied,
    cohens_kappa,
    first_sentence,
)
from training.evaluation.prompt_sets import Role

_JUDGED: dict[Asks, tuple[Role, ...]] = {"refused": ("harmful", "harmless", "borderline"), "complied": ("harmful",)}
"""Where a judge is asked: refusals count wherever safety is measured, compliance with harmful prompts only."""


def judged(answers: Sequence[Answer], judges: Sequence[Judge]) -> list[Answer]:
    """``answers`` with the verdicts of ``judges``, each asked once with everything it has to judge.

    The first judge that asks for refusals decides what refused, the first that asks for compliance what complied.
    Where there is none of one kind, the other decides both for harmful prompts: an answer refused where it did not
    comply. Of harmless and borderline prompts nobody knows then what refused: a judge of harm says nothing of refusal.

    No judge is asked of an empty answer: it neither refuses nor complies, and some judges would say the one, some the
    other.

    Raises:
        JudgeError: a judge cannot be loaded.
    """
    verdicts: list[dict[str, Verdict]] = [{} for _ in answers]
    for judge in judges:
        chosen = [at for at, answer in enumerate(answers) if answer.role in _JUDGED[judge.asks] and not answer.empty]
        exchanges = [Exchange(answers[at].prompt, answers[at].answer, answers[at].request) for at in chosen]
        for index, verdict in zip(chosen, judge.judge(exchanges), strict=True):
            verdicts[index][judge.name] = verdict
    refuser, complier = (_decider(judges, asks) for asks in ("refused", "complied"))
    at_once = _at_once(answers, refuser)

    def decided(answer: Answer, found: Mapping[str, Verdict], judge: Judge, wanted: Asks) -> Verdict:
        if answer.empty:
            return False if answer.role in _JUDGED[judge.asks] else None
        return _as(found.get(judge.name), judge.asks, wanted)

    return [
        replace(
            answer,
            refused=decided(answer, found, refuser, "refused"),
            refused_at_once=first,
            complied=decided(answer, found, complier, "complied") if answer.role == "harmful" else None,
            verdicts=found,
        )
        for answer, found, first in zip(answers, verdicts, at_once, strict=True)
    ]


def _at_once(answers: Sequence[Answer], refuser: Judge) -> list[Verdict]:
    """Whether the first sentence of each answer refuses, where phrases decide what refused; else nobody can tell."""
    if not isinstance(refuser, RefusalPhrases):
        return [None] * len(answers)
    found = refuser.judge([Exchange(answer.prompt, first_sentence(answer.answer)) for answer in answers])
    return [v if answer.role in _JUDGED["refused"] else None for answer, v in zip(answers, found, strict=True)]


def agreements(answers: Sequence[Answer], asks: Mapping[str, Asks]) -> dict[str, float]:
    """Cohen's kappa of every two judges on the answers to harmful prompts, direct and under attack.

    Both are taken for answers to whether the answer complied. Left out where chance alone agrees fully, or no answer
    has a verdict of both.

    Args:
        answers: with verdicts.
        asks: what each judge asks, by its name.
    """
    attacks = {answer.attack: None for answer in answers}
    harmful = [
        answer
        for attack in attacks
        for answer in distinct(one for one in answers if one.role == "harmful" and one.attack == attack)
    ]
    # Of an empty answer no judge was asked: it has no verdict.
    by_judge = {
        name: as_complied([answer.verdicts.get(name) for answer in harmful], asked) for name, asked in asks.items()
    }
    found = {
        f"judges/kappa/{one}/{other}": cohens_kappa(by_judge[one], by_judge[other])[0]
        for one, other in combinations(by_judge, 2)
    }
    return {name: kappa for name, kappa in found.items() if kappa is not None}


def _decider(judges: Sequence[Judge], asks: Asks) -> Judge:
    return next((judge for judge in judges if judge.asks == asks), judges[0])


def _as(verdict: Verdict, asks: Asks, wanted: Asks) -> Verdict:
    return verdict if verdict is None or asks == wanted else not verdict
