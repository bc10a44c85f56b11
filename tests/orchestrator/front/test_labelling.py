"""Which answers people are asked about, and in what order."""

from collections import Counter
from itertools import pairwise

import pytest
from detailed_samples import answer_rows
from labelled_samples import truth

from orchestrator.front.labelling import decider, in_order, judged_answers, kind, questions, says
from orchestrator.record.labels import Item

RATES = {"harmful": 0.2, "borderline": 0.2, "task": 0.7}
TRIALS = {name: judged_answers(name, answer_rows(RATES, seed)) for seed, name in enumerate(("base", "ift", "m-03"))}


def test_they_are_those_behind_the_rates_of_judges() -> None:
    rows = answer_rows(RATES, 0)
    found = judged_answers("t", [*rows, {**rows[1], "set": "again"}, {**rows[3], "attack": "prefill"}])
    assert len(found) == 100, "report prompts, each once, under no attack"
    assert {row["set"] for row in found.values()} == {"harmful"}
    assert {item.trial for item in found} == {"t"}
    without_roles = [{name: value for name, value in row.items() if name != "role"} for row in rows]
    assert judged_answers("t", without_roles) == {}


def test_the_judge_of_refusals_decides_which_kind_an_answer_is() -> None:
    row = {"asks.harm": "complied", "asks.rule": "refused", "verdict.harm": True, "verdict.rule": True, "empty": False}
    asks = questions([row])
    assert asks == {"harm": "complied", "rule": "refused"}
    assert decider(asks) == "rule"
    assert decider({"harm": "complied"}) == "harm"
    assert decider({}) is None
    assert (says(row, "harm", "complied"), says(row, "rule", "refused")) == (True, False)
    assert kind(row, asks) == "no"
    assert kind({**row, "verdict.rule": None}, asks) == "unknown"
    assert kind({**row, "empty": True}, asks) == "empty"


def test_wherever_somebody_stops_all_trials_and_both_verdicts_are_covered() -> None:
    order = list(in_order(TRIALS, 0))
    assert len(order) == len(set(order)) == 300
    rows = {item: row for found in TRIALS.values() for item, row in found.items()}
    for stop in (12, 24, 60):
        seen = Counter((item.trial, truth(rows[item])) for item in order[:stop])
        assert set(seen.values()) == {stop // 6}, "each trial and verdict alike, as long as there are any"


def test_the_order_tells_no_verdict_and_is_the_seeds() -> None:
    rows = {item: row for found in TRIALS.values() for item, row in found.items()}
    verdicts = [truth(rows[item]) for item in in_order(TRIALS, 0)][:60]
    alternations = sum(one is not other for one, other in pairwise(verdicts))
    assert 18 < alternations < 48
    first = [truth(rows[next(in_order(TRIALS, seed))]) for seed in range(60)]
    assert 15 < sum(first) < 45, "nor does who comes first"
    assert list(in_order(TRIALS, 0)) == list(in_order(TRIALS, 0)) != list(in_order(TRIALS, 1))


def test_a_trial_more_leaves_the_order_of_the_others() -> None:
    without = list(in_order({name: TRIALS[name] for name in ("base", "ift")}, 0))
    within = [item for item in in_order(TRIALS, 0) if item.trial != "m-03"]
    assert within == without


def test_empty_answers_need_nobody() -> None:
    items = {
        Item("t", "direct", str(n), "h"): {"empty": n < 3, "asks.j": "complied", "verdict.j": True} for n in range(5)
    }
    assert {item.prompt_id for item in in_order({"t": items}, 0)} == {"3", "4"}
    assert list(in_order({}, 0)) == []


@pytest.mark.parametrize("name", ["trial", "attack", "prompt_id", "answer_hash"])
def test_what_stands_for_an_answer_on_a_sheet_tells_it_from_others(name: str) -> None:
    item = Item("m-03", "direct", "p1", "abc")
    other = item._replace(**{name: "other"})
    assert item.token == Item("m-03", "direct", "p1", "abc").token != other.token
    assert "m-03" not in item.token
