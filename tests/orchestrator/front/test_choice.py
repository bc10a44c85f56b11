"""Which trial a rule chooses: on the select prompts, with what the report prompts say of it."""

import pytest
from detailed_samples import detailed_sweep
from front_samples import ACCURACY, ASR, OBJECTIVES, OVER_REFUSAL, RULES, halves, record, references, with_scores

from orchestrator.front.choice import LIKELY, choose, default_rule, parsed
from orchestrator.front.document import build_front
from orchestrator.front.pooling import pool
from orchestrator.front.resampled import Resampled
from orchestrator.front.schema.choice import Choice
from orchestrator.record.trials import Status, TrialRecord
from orchestrator.report.sentences import facts, how_sure, rule_in_words, surer, verdict, warning
from sweeps.goals.objectives import Objective


def chosen(text: str | None, records: list[TrialRecord], answers: dict | None = None, likely: float = LIKELY) -> Choice:
    everything = pool(records, answers or {})
    labels = {p.record.label: p for p in everything if p.record.kind == "reference"}
    rule = parsed(text, OBJECTIVES, RULES, [ASR, ACCURACY, OVER_REFUSAL, "utility/loss", "style"], list(labels))
    trials = [p for p in everything if p.record.kind == "trial"]
    return choose(rule, OBJECTIVES, trials, labels, Resampled(answers or {}), likely)


def test_the_best_of_those_that_keep_the_rule_on_the_select_prompts() -> None:
    trials = [
        halves("kept", (0.30, 0.80, 0.02), (0.36, 0.70, 0.02)),  # on the report prompts it breaks the rule
        halves("lucky", (0.40, 0.85, 0.02), (0.05, 0.95, 0.02)),  # on these it would be the best by far
        halves("safest", (0.10, 0.50, 0.02), (0.10, 0.50, 0.02)),
        halves("refusing", (0.05, 0.90, 0.30), (0.05, 0.90, 0.30)),
    ]
    rule = "over_refusal <= .05, accuracy >= .75, min attack_success_rate"
    found = chosen(rule, [*references(), *trials], likely=0)
    assert (found.trial, found.keeps, found.finished, found.kept_by) == ("kept", True, 4, 2)
    assert found.metrics == {ASR: 0.36, OVER_REFUSAL: 0.02, ACCURACY: 0.70}
    bounds = {bound.metric: bound for bound in found.bounds}
    assert bounds[OVER_REFUSAL].keeps
    assert not bounds[ACCURACY].keeps
    assert [(one.id, one.kind, one.keeps) for one in found.alternatives] == [
        ("base", "reference", False),
        ("ift", "reference", True),
        ("ift_safety", "reference", False),
        ("lucky", "surer", True),
        ("refusing", "beyond the rule", False),
    ]
    # 70 of 100 correct: the posterior has little above .75.
    assert bounds[ACCURACY].sure == pytest.approx(0.135, abs=0.03)
    assert found.sure == pytest.approx(bounds[ACCURACY].sure * bounds[OVER_REFUSAL].sure, abs=0.02)
    assert "on these it breaks accuracy >= 0.75" in how_sure(found)
    assert not found.doubtful, "nobody asked for a probability"


def test_one_that_likely_breaks_the_rule_on_the_other_prompts_is_passed_over_and_named() -> None:
    trials = [
        halves("first", (0.30, 0.80, 0.02), (0.36, 0.60, 0.02)),
        halves("second", (0.40, 0.85, 0.02), (0.40, 0.77, 0.02)),
        halves("third", (0.50, 0.90, 0.02), (0.60, 0.80, 0.02)),
        halves("fourth", (0.60, 0.95, 0.02), (0.60, 0.95, 0.02)),
    ]
    rule = "accuracy >= .75, min attack_success_rate"
    found = chosen(rule, [*references(), *trials])
    assert (found.trial, found.kept_by, found.doubtful) == ("second", 4, False)
    assert 0.5 < found.sure < 0.9
    assert [(one.id, one.kind) for one in found.alternatives if one.kind != "reference"] == [
        ("first", "passed over"),
        ("third", "runner-up"),
        ("fourth", "surer"),
    ]
    assert warning(found, "m") == (
        "Trial first is better by its aim on the select prompts, but very likely breaks the rule on the prompts that "
        "nobody chose by (it keeps it with a probability of less than 1 %), and was passed over."
    )
    assert surer(found, "m").startswith(
        "Surer to keep the rule (more than 99 %) is trial fourth: attack success rate 0.60"
    )
    assert chosen(rule, [*references(), *trials], likely=0.9).trial == "fourth"
    assert chosen(rule, [*references(), *trials], likely=0).trial == "first"


def test_where_none_is_likely_to_keep_the_rule_that_is_said_before_all_else() -> None:
    trials = [halves("a", (0.30, 0.80), (0.36, 0.60)), halves("b", (0.40, 0.85), (0.40, 0.70))]
    found = chosen("accuracy >= .75, min attack_success_rate", [*references(), *trials])
    assert (found.trial, found.keeps, found.doubtful) == ("a", True, True)
    assert warning(found, "m").startswith(
        "Trial a very likely breaks the rule on the prompts that it was not chosen by"
    )
    assert warning(found, "m").endswith("No trial that keeps the rule on the select prompts does so with 50 %.")
    asked = chosen("accuracy >= .65, min attack_success_rate", [*references(), *trials], likely=0.99)
    assert (asked.trial, asked.doubtful) == ("a", True)
    assert "does so with 99 %" in warning(asked, "m")


def test_where_none_keeps_the_rule_the_nearest_is_named_and_said_to_break_it() -> None:
    trials = [halves("near", (0.30, 0.74), (0.3, 0.74)), halves("far", (0.10, 0.50), (0.1, 0.5))]
    found = chosen("accuracy >= .75", [*references(), *trials])
    assert (found.trial, found.keeps, found.kept_by) == ("near", False, 0)
    assert [one.id for one in found.alternatives if one.kind != "reference"] == ["far"]


def test_of_trials_that_are_the_same_by_the_aim_the_one_that_is_better_else_is_chosen() -> None:
    trials = [halves("worse", (0.3, 0.8), (0.3, 0.8)), halves("better", (0.3, 0.9), (0.3, 0.9))]
    assert chosen("accuracy >= .7, min attack_success_rate", trials).trial == "better"
    assert chosen("min over_refusal, max attack_success_rate", trials).trial == "better"


def test_references_are_compared_with_by_their_values_on_the_same_prompts() -> None:
    ift = halves("m-ift", (0.6, 0.90), (0.6, 0.70), kind="reference", label="ift")
    trials = [halves("a", (0.3, 0.85), (0.3, 0.68)), halves("b", (0.4, 0.89), (0.4, 0.6))]
    found = chosen("accuracy >= ift - .02", [ift, *trials])
    assert found.trial == "b", "by select a is .05 behind"
    assert found.bounds[0].limit == pytest.approx(0.68)
    assert chosen("accuracy >= ift - .06", [ift, *trials]).trial == "a"


def test_what_was_not_measured_is_said() -> None:
    trials = [halves("a", (0.3, 0.85), (0.3, 0.68))]
    without = chosen(None, trials)
    assert without.trial is None
    assert "compares with ift, which was not measured" in (without.note or "")
    assert "no trial has finished with" in (chosen("style <= 3", [*references(), *trials]).note or "")
    failed = [*references(), record("a", status=Status.FAILED)]
    assert chosen(None, failed).trial is None
    exact = with_scores(record("a", 0.1, 0.9), {"style": 2.0})
    unknown = chosen("style <= 3", [*references(), exact])
    assert (unknown.trial, unknown.sure, unknown.bounds[0].sure) == ("a", None, None)
    assert "cannot be told" in how_sure(unknown)


def test_the_default_is_the_safest_that_does_the_task_like_plain_fine_tuning() -> None:
    assert str(default_rule(OBJECTIVES, RULES)) == (f"{OVER_REFUSAL} <= 0.15, {ACCURACY} >= ift - 0.02, min {ASR}")
    refusing = Objective(metric="safety/over_refusal/xs", goal="minimize")
    assert str(default_rule([*OBJECTIVES, refusing], [])) == (
        f"{ACCURACY} >= ift - 0.02, safety/over_refusal/xs <= base + 0.02, min {ASR}"
    )
    loss = Objective(metric="utility/loss", goal="minimize", worst=2.0)
    assert str(default_rule([OBJECTIVES[0], loss], [])) == f"utility/loss <= ift + 0.02, min {ASR}"
    assert str(default_rule([loss], [])) == "min utility/loss"
    assert str(default_rule([loss, OBJECTIVES[1]], [])).endswith("min utility/loss")


def test_paired_prompts_make_it_surer_than_counts_do() -> None:
    records, answers = detailed_sweep(replicated=0)
    rule = "accuracy >= ift - .1, min attack_success_rate"
    paired, unpaired = chosen(rule, records, answers), chosen(rule, records)
    assert paired.trial == unpaired.trial
    width = {
        name: found.alternatives[1].differences[ACCURACY].high - found.alternatives[1].differences[ACCURACY].low
        for name, found in (("paired", paired), ("unpaired", unpaired))
    }
    assert width["paired"] < 0.75 * width["unpaired"]


def test_the_front_document_says_which_trial_to_take() -> None:
    records, answers = detailed_sweep(replicated=1)
    front = build_front(OBJECTIVES, RULES, records, answers=answers)
    choice = front.models["organism"].choice
    assert choice is not None
    assert choice == chosen(None, records, answers)
    trial = str(choice.trial).removeprefix("organism-")
    assert verdict(front, "organism") == (
        f"Take trial {trial}: the lowest attack success rate of the {choice.kept_by} that keep the rule, of "
        f"{choice.finished} measured models."
    )
    assert facts(choice)[0].startswith("It has attack success rate ")
    assert facts(choice)[1].startswith("Against plain fine-tuning: attack success rate -")
    assert rule_in_words(choice) == "over_refusal <= 0.15, accuracy >= ift - 0.02, min attack_success_rate"


def test_what_safety_data_alone_does_as_well_is_said() -> None:
    records, answers = detailed_sweep(replicated=0)
    ahead = facts(chosen("min attack_success_rate", records, answers))
    assert not any("safety data alone" in fact for fact in ahead)
    behind = facts(chosen("accuracy >= .95, min attack_success_rate", records, answers))
    assert behind[-1].startswith("By attack success rate it is not better than safety data alone beyond chance")
