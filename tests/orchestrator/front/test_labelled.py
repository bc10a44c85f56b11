"""Judges beside people: counts that add up, known truth, and what the intervals of a sweep's labels cover."""

import random
from dataclasses import replace
from statistics import fmean
from typing import Any

import pytest
from detailed_samples import answer_rows, detailed_sweep
from front_samples import OBJECTIVES, RULES, record
from labelled_samples import Answers, labels_of, truth

from orchestrator.front.document import build_front
from orchestrator.front.labelled import NEEDED, labelled
from orchestrator.front.labelling import in_order, judged_answers
from orchestrator.front.pooling import Pooled, pool
from orchestrator.front.schema.labels import Labels
from orchestrator.record.labels import UNSURE, Item, Label
from training.evaluation.judges.agreement import cohens_kappa

RATES = {"harmful": 0.3, "borderline": 0.2, "task": 0.7}


def models(*names: str, rate: float = 0.3) -> tuple[list[Pooled], dict[str, list[dict[str, Any]]]]:
    answers = {name: answer_rows({**RATES, "harmful": rate}, seed) for seed, name in enumerate(names)}
    return pool([record(name) for name in names], answers), answers


def all_labels(answers: Answers, *names: str, **changes: Any) -> list[Label]:
    return labels_of(answers, names, 10_000, **changes)


def told(pooled: list[Pooled], answers: Answers, labels: list[Label]) -> Labels:
    found = labelled(pooled, answers, labels)
    assert found is not None
    return found


def test_with_every_answer_labelled_it_is_what_people_say() -> None:
    pooled, answers = models("a")
    found = told(pooled, answers, all_labels(answers, "a"))
    rows = [row for row in answers["a"] if row["set"] == "harmful" and row["split"] == "report"]
    people, verdicts = [truth(row) for row in rows], [row["verdict.classifier"] for row in rows]
    assert (found.labels, found.unsure, found.missing) == (100, 0, 0)
    judge = found.judges["classifier"]
    (no_no, no_yes), (yes_no, yes_yes) = judge.confusion
    assert yes_yes == sum(p and v for p, v in zip(people, verdicts, strict=True))
    assert no_yes == sum(v and not p for p, v in zip(people, verdicts, strict=True)) > 0
    assert no_no + no_yes + yes_no + yes_yes == 100
    assert judge.kappa == pytest.approx(cohens_kappa(people, verdicts)[0])
    for rate in (judge.together, judge.entries["a"]):
        assert rate.raw == pytest.approx(fmean(verdicts))
        assert rate.value == pytest.approx(fmean(people))
        assert rate.low < rate.value < rate.high
    assert found.judges["phrases"].kappa == 1.0


def test_few_labels_only_say_how_many_are_missing() -> None:
    pooled, answers = models("a", "b")
    found = told(pooled, answers, labels_of(answers, ["a", "b"], NEEDED - 1))
    assert (found.labels, found.missing, found.judges) == (49, 1, None)
    assert sum(found.entries.values()) == 49
    enough = told(pooled, answers, labels_of(answers, ["a", "b"], NEEDED))
    assert set(enough.judges) == {"phrases", "classifier"}
    assert enough.judges["phrases"].entries == {}, "neither has enough of its own"
    assert enough.judges["phrases"].together.labels == 50


def test_labels_of_one_kind_more_than_of_others_do_not_move_the_rate() -> None:
    """Half of the labels are of answers that the judge calls compliance, which are 5 of 100."""
    pooled, answers = models("a", rate=0.1)
    found = told(pooled, answers, labels_of(answers, ["a"], 60))
    judge = found.judges["phrases"]
    assert judge.together.value == pytest.approx(judge.together.raw), (
        "the judge is right, so there is nothing to correct"
    )
    assert judge.confusion[1][1] > 60 * judge.together.raw


def test_a_judge_that_is_wrong_is_put_right() -> None:
    pooled, answers = models("a", "b", rate=0.3)
    for rows in answers.values():
        for row in rows:  # it takes every second refusal for compliance
            if row["set"] == "harmful" and not truth(row) and int(row["prompt_id"].split("-")[1]) % 4 == 1:
                row["verdict.classifier"] = True
    found = told(pooled, answers, labels_of(answers, ["a", "b"], 120)).judges["classifier"].together
    real = fmean(truth(row) for rows in answers.values() for row in judged_answers("x", rows).values())
    assert found.raw > real + 0.2
    assert abs(found.value - real) < 0.08
    assert found.low < real < found.high < found.raw


def test_nobody_needs_to_label_an_empty_answer() -> None:
    pooled, answers = models("a")
    silent = [row for row in answers["a"] if row["set"] == "harmful" and row["split"] == "report"][:40]
    for row in silent:
        row.update(empty=True, answer="", **{"verdict.phrases": None, "verdict.classifier": None})
    found = told(pooled, answers, all_labels(answers, "a"))
    spoken = [row for row in judged_answers("a", answers["a"]).values() if not row.get("empty")]
    assert found.labels == 60
    assert found.judges["phrases"].together.value == pytest.approx(sum(map(truth, spoken)) / 100)
    assert sum(map(sum, found.judges["phrases"].confusion)) == 60


def test_an_answer_without_a_verdict_is_in_no_rate() -> None:
    pooled, answers = models("a")
    for row in answers["a"][1:21:2]:
        row["verdict.classifier"] = None
    found = told(pooled, answers, all_labels(answers, "a"))
    assert found.judges["classifier"].together.labels == 90
    assert found.judges["phrases"].together.labels == 100


def test_people_who_are_unsure_or_differ() -> None:
    pooled, answers = models("a")
    anna = labels_of(answers, ["a"], 80)
    bob = labels_of(answers, ["a"], 60, "bob", wrong=range(0, 60, 6))
    anna[70:] = [replace(label, word=UNSURE) for label in anna[70:]]
    found = told(pooled, answers, [*anna, *bob])
    assert (found.labels, found.unsure) == (70, 10)
    assert found.labellers == {"anna": 70, "bob": 60}
    (pair,) = found.agreements
    assert (pair.labellers, pair.answers) == (("anna", "bob"), 60)
    known = {label.item: label.complied for label in anna}
    assert pair.kappa == pytest.approx(cohens_kappa([known[b.item] for b in bob], [b.complied for b in bob])[0])
    assert sum(map(sum, found.judges["phrases"].confusion)) == 70
    (_, no_yes), (yes_no, _) = found.judges["phrases"].confusion
    assert no_yes + yes_no == 5, "ten answers of which each is half right"


def test_labels_of_other_answers_say_nothing() -> None:
    pooled, answers = models("a")
    assert labelled(pooled, answers, []) is None
    assert labelled(pooled, answers, [Label(Item("a", "direct", "nobody", "0"), "anna", "complied")]) is None
    assert labelled(pooled, {}, all_labels(answers, "a")) is None


def test_all_seeds_of_a_trial_are_its_answers() -> None:
    records, answers = detailed_sweep(8, replicated=1)
    trial = next(one.replicate_of for one in records if one.kind == "replicate")
    front = build_front(OBJECTIVES, RULES, records, answers=answers, labels=all_labels(answers, trial, f"{trial}-r1"))
    found = front.models["organism"].labels
    assert found.entries == {trial: 200}
    assert found.judges["phrases"].together.prompts == 100
    entry = next(one for one in front.models["organism"].trials if one.id == trial)
    assert found.judges["phrases"].entries[trial].raw == pytest.approx(entry.metrics["safety/judged/phrases"])
    assert front.labelled is not None


def covered(chance: random.Random, rates: dict[str, float], alarms: float, misses: float, count: int) -> bool:
    """Whether the labels of one simulated sweep, given in the order of ``procon label``, cover the true rate."""
    prompts, answers = 100, {}
    luck = [chance.random() for _ in range(prompts)]
    real: dict[Item, bool] = {}
    for trial, rate in rates.items():
        # The share below the rate is the rate, and the same prompts are hard for all.
        level = [(one + 0.4 * chance.random()) % 1 for one in luck]
        rows = []
        for number, one in enumerate(level):
            complied = one < rate
            verdict = complied is not (chance.random() < (misses if complied else alarms))
            row = {
                "role": "harmful",
                "attack": "direct",
                "split": "report",
                "prompt_id": f"p{number}",
                "answer_hash": "h",
            }
            rows.append({**row, "asks.judge": "complied", "verdict.judge": verdict})
            real[Item(trial, "direct", f"p{number}", "h")] = complied
        answers[trial] = rows
    asked = {trial: judged_answers(trial, rows) for trial, rows in answers.items()}
    order = in_order(asked, chance.randrange(10**9))
    labels = [Label(i, "anna", "complied" if real[i] else "refused") for _, i in zip(range(count), order, strict=False)]
    found = labelled(pool([record(trial) for trial in rates], answers), answers, labels)
    assert found is not None
    rate = found.judges["judge"].together
    return rate.low <= fmean(rates.values()) <= rate.high


SWEEPS = [
    pytest.param({"a": 0.3}, 0.1, 0.2, 50, id="one trial"),
    pytest.param({"a": 0.03}, 0.02, 0.1, 50, id="a safe model"),
    pytest.param({f"t{n}": rate for n, rate in enumerate((0.02, 0.66, 0.14, 0.1, 0.3, 0.5))}, 0.1, 0.1, 50, id="six"),
    pytest.param({f"t{n}": rate for n, rate in enumerate((0.02, 0.66, 0.14, 0.1))}, 0.2, 0.05, 200, id="many labels"),
]


@pytest.mark.parametrize(("rates", "alarms", "misses", "count"), SWEEPS)
def test_the_intervals_of_labels_in_our_order_cover(
    rates: dict[str, float], alarms: float, misses: float, count: int
) -> None:
    chance = random.Random(0)
    assert sum(covered(chance, rates, alarms, misses, count) for _ in range(30)) >= 24


@pytest.mark.slow
@pytest.mark.parametrize(("rates", "alarms", "misses", "count"), SWEEPS)
def test_the_intervals_of_labels_in_our_order_cover_in_93_of_100(
    rates: dict[str, float], alarms: float, misses: float, count: int
) -> None:
    chance = random.Random(1)
    assert sum(covered(chance, rates, alarms, misses, count) for _ in range(1000)) >= 930
