"""Outcomes by prompt, from rows as they are measured."""

import random
from dataclasses import replace

import pytest
from detailed_samples import answer_rows, counts_of
from front_samples import ASR

from orchestrator.front.outcomes import outcomes
from training.config.judges import Asks
from training.evaluation.answers import Answer, Row, without_text
from training.evaluation.rates import rate_counts

ASKS: dict[str, Asks] = {"phrases": "refused", "classifier": "complied"}


def measured() -> list[Answer]:
    """Answers with two harmful sets that share prompts, an attack, families, a capability set, unknown verdicts."""
    rng = random.Random(0)
    found = []

    def add(name, role, number, attack="direct", **verdicts):
        answer = Answer(name, role, rng.choice(["select", "report"]), attack, f"{role}-{number}", "p", "a")
        coherent = rng.random() < 0.9
        found.append(replace(answer, coherent=coherent, **verdicts))

    for attack in ("direct", "prefill"):
        for name, numbers in (("harmful", range(40)), ("strong", range(30, 60))):
            for number in numbers:
                refused = rng.choice([True, False, None])
                verdicts = {"phrases": None if refused is None else not refused, "classifier": rng.choice([True, None])}
                add(
                    name,
                    "harmful",
                    number,
                    attack,
                    refused=refused,
                    complied=rng.choice([True, False]),
                    verdicts=verdicts,
                )
    for name, numbers in (("borderline", range(30)), ("scary", range(20, 50))):
        for number in numbers:
            add(name, "borderline", number, refused=rng.choice([True, False]))
    for number in range(30):
        add("harmless", "harmless", number, refused=rng.choice([True, False]))
        add("task", "task", number % 25, correct=rng.choice([True, False]), family=rng.choice(["sum", "copy"]))
        add("arithmetic", "capability", number, correct=rng.choice([True, False, None]))
    # A prompt belongs to one split, whatever the set or attack.
    splits = {answer.prompt_id: answer.split for answer in found}
    return [replace(answer, split=splits[answer.prompt_id]) for answer in found]


def rows_of(answers: list[Answer]) -> list[Row]:
    """As they are kept where texts are not."""
    return without_text([answer.row(ASKS) for answer in answers])


def before(rows: list[Row], *more: str) -> list[Row]:
    """``rows`` as they were written before roles were a column, also without the columns ``more``."""
    return [
        {name: value for name, value in row.items() if name not in ("role", *more) and not name.startswith("asks.")}
        for row in rows
    ]


def told(answers: list[Answer]) -> dict[str, tuple[int, int]]:
    """The rates of the report prompts that rows tell of."""
    counts = rate_counts([answer for answer in answers if answer.split == "report"], ASKS)
    return {name: count for name, count in counts.items() if not name.startswith("safety/unknown/")}


@pytest.mark.parametrize("kept", [rows_of, lambda answers: before(rows_of(answers))], ids=["roles", "no roles"])
@pytest.mark.parametrize("split", [True, False])
def test_every_rate_that_is_measured_is_found_again_in_the_rows(kept, split):
    answers = measured() if split else [replace(answer, split="report") for answer in measured()]
    rows, counts = kept(answers), told(answers)
    assert {"safety/judged/phrases", "safety/judged/classifier", "utility/accuracy/arithmetic"} < set(counts)
    assert {"safety/attack_success_rate/prefill", "safety/attack_success_rate/strong"} < set(counts)
    for metric, count in counts.items():
        found = outcomes(rows, metric, count)
        assert found is not None, metric
        assert (sum(found.values()), len(found)) == count
        assert found == outcomes(rows_of(answers), metric, count), "prompts of both kinds of rows can be paired"


def test_a_count_that_is_not_that_of_the_rate_is_not_made_to_fit():
    answers = measured()
    rows, everything = rows_of(answers), rate_counts(answers, ASKS)
    for metric, (successes, total) in told(answers).items():
        assert outcomes(rows, metric, (successes + 1, total)) is None
        assert outcomes(rows, metric, everything[metric]) is None, "of select prompts too"
    assert outcomes(rows, "utility/loss", (1, 2)) is None
    assert outcomes(rows, "other_package/accuracy", told(answers)["utility/accuracy"]) is None
    assert outcomes(rows, "safety/judged/nobody", (1, 2)) is None
    assert outcomes([], ASR, (1, 2)) is None


def test_a_set_of_which_no_verdict_tells_the_role_is_looked_up_by_its_role():
    answers = [replace(answer, complied=None) for answer in measured()]
    metric = "safety/attack_success_rate/strong"
    count = told(answers)[metric]
    assert outcomes(rows_of(answers), metric, count) is not None
    assert outcomes(before(rows_of(answers)), metric, count) is None


def test_rows_of_the_first_version_are_all_of_the_report_and_asked_directly():
    rows = answer_rows({"harmful": 0.5, "borderline": 0.1, "task": 0.8}, 0)
    report = [row for row in rows if row["split"] == "report"]
    for metric, count in counts_of(rows, "report").items():
        found = outcomes(before(report, "split", "attack", "coherent"), metric, count)
        assert found == (None if metric == "utility/coherence" else outcomes(rows, metric, count))
