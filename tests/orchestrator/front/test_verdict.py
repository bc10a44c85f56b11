"""What a front says of its two arms: each by its own front, and one sentence that says no more than is known."""

from dataclasses import replace
from typing import Any

import pytest
from detailed_samples import detailed_sweep
from front_samples import ACCURACY, ASR, OBJECTIVES, RULES, halves, record, references, sweep

from orchestrator.front.document import build_front
from orchestrator.front.schema.document import ModelFront
from orchestrator.record.trials import TrialRecord
from sweeps.schema.arms import PLAIN


def front_of(records: list[TrialRecord], **changes: Any) -> ModelFront:
    return build_front(OBJECTIVES, RULES, records, **changes).models["organism"]


def plain(one: TrialRecord) -> TrialRecord:
    return replace(one, arm=PLAIN, params={"learning_rate": 1e-3})


def trained(one: TrialRecord) -> TrialRecord:
    return one if one.label == "base" else replace(one, trial={"seed": 0})


def test_a_search_with_one_arm_says_nothing_of_arms() -> None:
    body = front_of(sweep(12))
    assert (body.arms, body.verdict) == (None, None)
    assert "arms" not in body.model_dump()
    assert all("arm" not in trial for trial in body.model_dump()["trials"])


def test_each_arm_has_the_front_that_it_would_have_alone() -> None:
    constrained = [record("a", 0.1, 0.8), record("b", 0.05, 0.5), record("c", 0.3, 0.7)]
    rivals = [plain(record("d", 0.2, 0.75)), plain(record("e", 0.4, 0.6))]
    body = front_of([*constrained, *rivals])
    assert body.arms is not None
    assert (body.arms["constraint"].front, body.arms["plain"].front) == (("a", "b"), ("d",))
    assert body.front == ("a", "b"), "of all together d is no member"
    assert body.arms["constraint"].hypervolume == pytest.approx(0.9 * 0.8 + 0.05 * 0.5)
    assert (body.arms["constraint"].trials, body.arms["plain"].trials) == (3, 2)
    assert [trial.arm for trial in body.trials] == [None, None, None, "plain", "plain"]


def test_trained_references_are_trials_of_the_plain_arm_and_the_untouched_model_is_none() -> None:
    others = [trained(one) for one in references()]
    body = front_of([*others, record("a", 0.1, 0.7), plain(record("d", 0.6, 0.7))])
    assert body.arms is not None
    assert set(body.arms["plain"].front) == {"ift", "ift_safety"}


def test_a_rule_that_the_report_prompts_break_costs_the_arm_its_trial() -> None:
    broken = halves("a", (0.1, 0.8, 0.1), (0.1, 0.8, 0.3))
    body = front_of([broken, plain(halves("d", (0.3, 0.7, 0.0), (0.3, 0.7, 0.0)))])
    assert body.arms is not None
    assert body.verdict is not None
    assert (body.arms["constraint"].front, body.arms["constraint"].hypervolume) == (("a",), 0.0)
    assert body.verdict.difference == pytest.approx(-0.49)
    assert body.verdict.level is None


def test_a_clear_gain_and_a_clear_loss_are_called_so() -> None:
    better, worse = record("a", 0.1, 0.8), record("b", 0.6, 0.7)
    gain = front_of([better, plain(worse)]).verdict
    loss = front_of([worse, plain(better)]).verdict
    assert gain is not None
    assert loss is not None
    assert gain.sentence.startswith("With 1 trial each the constraint gains +0.440 [")
    assert "at utility/accuracy of at least 0.70, safety/attack_success_rate is 0.10 against 0.60" in gain.sentence
    assert loss.sentence.startswith("With 1 trial each the constraint loses to tuned plain fine-tuning: -0.440 [")
    assert (loss.low, loss.high) == pytest.approx((-gain.high, -gain.low), abs=0.01)


def test_what_luck_can_make_is_called_no_gain() -> None:
    found = front_of([record("a", 0.30, 0.8), plain(record("b", 0.31, 0.8))]).verdict
    assert found is not None
    assert found.low < 0 < found.high
    assert "no gain of the constraint over tuned plain fine-tuning can be told" in found.sentence


def test_answers_by_prompt_make_it_sharper() -> None:
    searched, answers = detailed_sweep(replicated=0)
    records = [plain(one) if one.kind == "trial" and int(one.id[-2:]) % 2 else one for one in searched]
    with_answers, without = front_of(records, answers=answers).verdict, front_of(records).verdict
    assert with_answers is not None
    assert without is not None
    assert (with_answers.paired, without.paired) == (True, False)
    assert with_answers.difference == pytest.approx(without.difference)
    assert with_answers.high - with_answers.low < without.high - without.low


def test_the_importance_of_settings_is_that_of_the_constraints_arm() -> None:
    constrained = sweep(14)
    rivals = [plain(replace(one, id=f"{one.id}-p")) for one in sweep(14, seed=3) if one.kind == "trial"]
    assert front_of([*constrained, *rivals]).importance == front_of(constrained).importance
    assert {ASR, ACCURACY} <= front_of(constrained).importance.targets.keys()
