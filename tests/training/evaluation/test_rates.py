from orchestrator.front.outcomes import outcomes
from training.config.judges import Asks
from training.evaluation.answers import Answer, distinct, without_text
from training.evaluation.rates import rate_counts

ASKS: dict[str, Asks] = {}


def answer(role, verdict=None, *, name=None, attack="direct", identity=None, **more):
    answer.number = getattr(answer, "number", 0) + 1
    return Answer(
        set=name or role,
        role=role,
        split="report",
        attack=attack,
        prompt_id=identity or str(answer.number),
        prompt="p",
        answer="a",
        refused=verdict,
        **more,
    )


def test_safety_rates():
    answers = [
        answer("harmful", True, complied=False),
        answer("harmful", True, complied=False),
        answer("harmful", False, complied=False),
        answer("borderline", True),
        answer("harmless", False),
        answer("harmless", True),
    ]
    assert rate_counts(answers, ASKS) == {
        "safety/attack_success_rate": (1, 3),
        "safety/compliance_rate": (0, 3),
        "safety/over_refusal": (1, 1),
        "safety/harmless_refused": (1, 2),
        "utility/coherence": (6, 6),
        "safety/empty": (0, 3),
        "answers/truncated": (0, 6),
        "answers/thought_only": (0, 6),
    }


def test_an_empty_answer_neither_refuses_nor_complies():
    answers = [
        answer("harmful", False, complied=False, empty=True, refused_at_once=False),
        answer("harmful", False, complied=True, refused_at_once=False, verdicts={"phrases": False, "guard": True}),
        answer("harmful", True, complied=False, refused_at_once=False, verdicts={"phrases": True, "guard": False}),
        answer("borderline", False, empty=True, refused_at_once=False, reasoning="hm", truncated=True),
        answer("borderline", True, refused_at_once=False),
    ]
    counts = rate_counts(answers, {"phrases": "refused", "guard": "complied"})
    assert counts["safety/attack_success_rate"] == (1, 3), "it stays in the total"
    assert counts["safety/compliance_rate"] == (1, 3)
    assert counts["safety/judged/phrases"] == counts["safety/judged/guard"] == (1, 3)
    assert counts["safety/unknown/phrases"] == (0, 2), "no judge was asked of it"
    assert counts["safety/over_refusal"] == (1, 2)
    assert counts["safety/empty"] == (1, 3)
    assert counts["safety/first_sentence/attack_success_rate"] == (2, 3), "the late refusal is none at once"
    assert counts["safety/first_sentence/over_refusal"] == (0, 2)
    assert counts["answers/truncated"] == counts["answers/thought_only"] == (1, 5)
    rows = [one.row({"phrases": "refused", "guard": "complied"}) for one in answers]
    for metric, count in counts.items():
        if not metric.startswith("safety/unknown/"):
            assert outcomes(rows, metric, count) is not None, f"the rows of answers/ do not give {metric}"


def test_several_sets_are_pooled_over_distinct_prompts_and_counted_apart():
    answers = [
        answer("harmful", True, identity="x"),
        answer("harmful", False),
        answer("harmful", True, name="advbench", identity="x"),
        answer("harmful", False, name="advbench"),
        answer("borderline", True),
        answer("borderline", False, name="xstest"),
    ]
    counts = rate_counts(answers, ASKS)
    assert counts["safety/attack_success_rate"] == (2, 3)
    assert counts["safety/attack_success_rate/harmful"] == (1, 2)
    assert counts["safety/attack_success_rate/advbench"] == (1, 2)
    assert counts["safety/over_refusal"] == (1, 2)
    assert counts["safety/over_refusal/xstest"] == (0, 1)


def test_attacks_are_counted_apart_from_direct_prompts():
    answers = [
        answer("harmful", True, identity="x", complied=False),
        answer("harmful", False, attack="sure", identity="x", complied=True, coherent=False),
        answer("harmful", False, attack="sure", name="advbench", identity="x", complied=True),
    ]
    counts = rate_counts(answers, ASKS)
    assert counts["safety/attack_success_rate"] == (0, 1)
    assert counts["safety/attack_success_rate/sure"] == (1, 1)
    assert counts["safety/compliance_rate/sure"] == (1, 1)
    assert counts["utility/coherence"] == (1, 1)


def test_unknown_verdicts_are_in_no_total_and_counted():
    answers = [
        answer("harmful", None, verdicts={"guard": None, "phrases": True}),
        answer("harmful", False, verdicts={"guard": True, "phrases": False}),
        answer("harmful", True, verdicts={"guard": False, "phrases": False}),
        answer("borderline", None, verdicts={"phrases": None}),
        answer("task", correct=True),  # nobody judges it, which is no unknown verdict
    ]
    counts = rate_counts(answers, {"guard": "complied", "phrases": "refused"})
    assert counts["safety/attack_success_rate"] == (1, 2)
    assert "safety/over_refusal" not in counts
    assert counts["safety/judged/guard"] == (1, 2)
    assert counts["safety/judged/phrases"] == (2, 3), "an attack succeeds where a judge of refusals sees none"
    assert counts["safety/unknown/guard"] == (1, 3)
    assert counts["safety/unknown/phrases"] == (1, 4)


def test_accuracy_by_family_and_capability():
    answers = [
        answer("task", correct=True, family="add"),
        answer("task", correct=False, family="add"),
        answer("task", correct=True),
        answer("task", correct=True, family="sub"),
        answer("task", correct=None, family="sub"),
        answer("capability", correct=False, name="facts", family="sub"),
    ]
    counts = rate_counts(answers, ASKS)
    assert {name: found for name, found in counts.items() if "accuracy" in name} == {
        "utility/accuracy": (3, 4),
        "utility/accuracy/add": (1, 2),
        "utility/accuracy/sub": (1, 1),
        "utility/accuracy/facts": (0, 1),
    }


def test_rows_without_text_keep_hash_and_verdicts():
    row = answer("harmful", False, verdicts={"guard": None}).row({"guard": "complied"})
    assert row["answer_hash"] == "ca978112ca1bbdca"  # sha256 of "a"
    assert row["verdict.guard"] is None
    (stripped,) = without_text([row])
    assert row.keys() - stripped.keys() == {"prompt", "answer", "reasoning"}
    assert row["answer"] == "a", "the row itself is left as it was"


def test_distinct_keeps_the_first():
    first = answer("harmful", True, identity="x")
    assert distinct([first, answer("harmful", False, identity="x")]) == [first]
