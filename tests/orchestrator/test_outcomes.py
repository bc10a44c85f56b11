"""Outcomes by prompt, from rows as they are measured."""

import random
from dataclasses import replace

import pytest
from detailed_samples import answer_rows, counts_of
from front_samples import ASR

from orchestrator.front.outcomes import outcomes
from training.config.judges import Asks
from training.evaluation.answers import Answer, without_text
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


@pytest.mark.parametrize("apart", [True, False])
def test_every_rate_that_is_measured_is_found_again_in_the_rows(apart):
    answers = measured()
    rows = without_text([answer.row(ASKS) for answer in answers])
    counts = rate_counts([a for a in answers if not apart or a.split == "report"], ASKS)
    told = [metric for metric in counts if not metric.startswith("safety/unknown/")]
    assert len(told) > 15
    for metric in told:
        found = outcomes(rows, metric, counts[metric])
        assert found is not None, metric
        assert (sum(found.values()), len(found)) == counts[metric]


def test_rows_that_do_not_add_up_to_the_rate_say_nothing():
    rows = answer_rows({"harmful": 0.5, "borderline": 0.1, "task": 0.8}, 0)
    successes, total = counts_of(rows, "report")[ASR]
    assert outcomes(rows, ASR, (successes, total)) is not None
    assert outcomes(rows, ASR, (successes + 1, total)) is None
    assert outcomes(rows, "utility/loss", (1, 2)) is None
