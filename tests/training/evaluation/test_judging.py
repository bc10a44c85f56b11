from dataclasses import dataclass, field, replace

import pytest

from training.config.judges import Asks
from training.evaluation.answers import Answer
from training.evaluation.judges import RefusalPhrases, Verdict, first_sentence
from training.evaluation.judging import agreements, judged
from training.evaluation.rates import rate_counts


@dataclass
class Says:
    """A judge that says of every answer what it is told to; of any other it does not know."""

    name: str
    asks: Asks
    verdicts: dict[str, Verdict]
    asked: list[str] = field(default_factory=list)

    def judge(self, exchanges):
        self.asked += [exchange.answer for exchange in exchanges]
        return [self.verdicts.get(exchange.answer) for exchange in exchanges]


def answers():
    kinds = {"harmful": "abcd", "harmless": "e", "borderline": "f", "task": "g", "capability": "h"}
    return [
        Answer(kind, kind, "report", "direct", text, "p", text)  # type: ignore[arg-type]
        for kind, texts in kinds.items()
        for text in texts
    ]


def decided(judges):
    return {answer.answer: (answer.refused, answer.complied) for answer in judged(answers(), judges)}


def test_the_first_judge_of_each_kind_decides():
    judges = [
        Says("guard", "complied", {"a": True, "b": False}),
        Says("phrases", "refused", {"a": True, "c": False, "e": True}),
        Says("second", "refused", dict.fromkeys("abcdef", True)),
    ]
    found = decided(judges)
    assert found["a"] == (True, True)
    assert found["b"] == (None, False)
    assert found["c"] == (False, None)
    assert found["e"] == (True, None)
    assert found["f"] == (None, None)


def test_each_judge_is_asked_once_where_it_matters():
    judges = [Says("phrases", "refused", {}), Says("guard", "complied", {})]
    judged(answers(), judges)
    assert "".join(judges[0].asked) == "abcdef"
    assert "".join(judges[1].asked) == "abcd"


def test_one_kind_of_judge_decides_both_on_harmful_prompts():
    found = decided([Says("guard", "complied", {"a": True, "b": False})])
    assert (found["a"], found["b"], found["c"]) == ((False, True), (True, False), (None, None))
    assert found["e"] == (None, None), "a judge of harm says nothing of refusals"
    found = decided([Says("phrases", "refused", {"a": True, "e": False})])
    assert (found["a"], found["e"]) == ((True, False), (False, None))


@pytest.mark.parametrize("asks", ["refused", "complied"])
def test_no_judge_is_asked_of_an_empty_answer(asks):
    judge = Says("one", asks, dict.fromkeys("abcdef", True))
    given = [replace(answer, empty=answer.answer in "bef") for answer in answers()]
    found = {answer.answer: answer for answer in judged(given, [judge])}
    assert "".join(judge.asked) == ("acd")
    assert (found["b"].refused, found["b"].complied, found["b"].attack_succeeded) == (False, False, False)
    assert found["e"].refused is (False if asks == "refused" else None)
    assert (found["a"].refused, found["a"].complied) == ((True, False) if asks == "refused" else (False, True))


def test_phrases_say_what_the_first_sentence_alone_would():
    texts = [
        "I cannot help.",
        "Sorry. I cannot help.",
        "Take some flour and bake. As an AI I have none.",
        "Yes",
        "I do",
    ]
    given = [Answer("harmful", "harmful", "report", "direct", text, "p", text) for text in texts]
    found = judged(given, [RefusalPhrases()])
    assert [answer.refused for answer in found] == [True, True, True, False, False]
    assert [answer.refused_at_once for answer in found] == [True, True, False, False, False]
    others = judged(given, [Says("guard", "complied", {})])
    assert {answer.refused_at_once for answer in others} == {None}
    assert first_sentence("He said so. Then (yes!) No?") == "He said so."
    assert first_sentence("Version 2.5 of it\nis here.") == "Version 2.5 of it\n"
    assert first_sentence("") == ""


def test_an_unknown_verdict_is_counted_and_never_guessed():
    judges = [Says("phrases", "refused", {"a": True, "b": False}), Says("guard", "complied", {})]
    asks = {judge.name: judge.asks for judge in judges}
    found = judged(answers(), judges)
    counts = rate_counts(found, asks)
    assert counts["safety/attack_success_rate"] == (1, 2)
    assert counts["safety/unknown/phrases"] == (4, 6)
    assert counts["safety/unknown/guard"] == (4, 4)
    assert not {"safety/judged/guard", "safety/compliance_rate", "safety/over_refusal"} & set(counts)
    assert agreements(found, asks) == {}


def test_agreement_is_on_harmful_prompts_and_one_question():
    judges = [
        Says("phrases", "refused", {"a": True, "b": True, "c": False, "d": False, "e": True}),
        Says("guard", "complied", {"a": False, "b": True, "c": True, "d": True}),
    ]
    found = agreements(judged(answers(), judges), {judge.name: judge.asks for judge in judges})
    # complied by phrases: no no yes yes; by guard: no yes yes yes; observed 3/4, by chance 1/2 * 3/4 + 1/2 * 1/4
    assert found == {"judges/kappa/phrases/guard": pytest.approx((0.75 - 0.5) / 0.5)}
