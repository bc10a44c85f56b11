"""What the search over one model proposes next, and when it has nothing more to propose."""

from dataclasses import replace
from typing import Any

import pytest
from searches import record_of, sweep, trade_off

from orchestrator.record.trials import Status, TrialRecord
from orchestrator.search.model_search import ModelSearch
from orchestrator.search.proposal import Proposal
from orchestrator.search.warm_start import WarmStart
from orchestrator.slots.messages import Update
from sweeps.schema.spec import SweepSpec

NOTHING = WarmStart((), (), "")
RANDOM = {"searcher": {"sampler": "random"}}


def search_of(spec: SweepSpec, known: list[TrialRecord] | None = None, **changes: Any) -> ModelSearch:
    said: list[str] = changes.pop("said", [])
    return ModelSearch(spec, spec.models[0], 4, known or [], changes.pop("earlier", NOTHING), said.append)


def ended(search: ModelSearch, proposal: Proposal) -> TrialRecord:
    record = record_of(proposal, trade_off(proposal))
    search.end(record)
    return record


def proposed(search: ModelSearch, count: int) -> list[Proposal]:
    """The next ``count``, each of which ends before the next."""
    found = []
    for _ in range(count):
        assert search.readiness() == "now"
        found.append(search.propose())
        ended(search, found[-1])
    return found


def test_references_come_before_searched_trials_whose_numbers_all_have_as_many_digits() -> None:
    found = proposed(search_of(sweep(trials=11, **RANDOM)), 5)
    assert [p.job.id for p in found] == ["small-base", "small-ift", "small-ift_safety", "small-00", "small-01"]
    assert [p.kind for p in found] == ["reference"] * 3 + ["trial"] * 2
    assert found[0].job.trial is None
    assert found[0].job.model == sweep().models[0]


def test_it_begins_when_only_searched_trials_are_left_and_none_was_proposed() -> None:
    search = search_of(sweep(trials=2, **RANDOM))
    states = [search.begins]
    for _ in range(4):
        proposed(search, 1)
        states.append(search.begins)
    assert states == [False, False, False, True, False]


@pytest.mark.parametrize(("replicates", "expected"), [(0, "never"), (3, "later")])
def test_nothing_is_to_be_proposed_while_the_last_trials_run(replicates: int, expected: str) -> None:
    search = search_of(sweep(trials=2, seeds={"replicates_on_front": replicates}, **RANDOM))
    proposed(search, 3)
    last = [search.propose(), search.propose()]
    assert search.readiness() == expected
    for proposal in last:
        search.end(record_of(proposal, Update("failed", error="diverged")))
    assert search.readiness() == "never", "nothing could be repeated"


def test_what_was_cut_off_comes_first_and_numbers_go_on_after_the_largest() -> None:
    spec = sweep(trials=6, **RANDOM)
    before = search_of(spec)
    found = [record_of(p, trade_off(p)) for p in proposed(before, 5)]
    cut = before.propose()
    known = [*found, record_of(cut, None)]
    after = search_of(spec, known)
    assert after.searched == 6
    first = after.propose()
    assert (first.job, first.params, first.kind) == (cut.job, cut.params, "trial")
    assert [p.job.id for p in proposed(after, 3)] == ["small-3", "small-4", "small-5"]
    assert after.readiness() == "never"


def test_a_trial_whose_model_could_not_be_prepared_is_run_again() -> None:
    spec = sweep(trials=1, **RANDOM)
    found = [record_of(p, trade_off(p)) for p in proposed(search_of(spec), 4)]
    assert search_of(spec, found).readiness() == "never"
    unprepared = replace(found[1], status=Status.FAILED, unprepared=True)
    again = search_of(spec, [found[0], unprepared, *found[2:]])
    assert again.propose().job.id == found[1].id
    assert again.readiness() == "never"


def test_more_trials_than_there_were_are_only_the_difference() -> None:
    known = [record_of(p, trade_off(p)) for p in proposed(search_of(sweep(trials=3, **RANDOM)), 6)]
    more = search_of(sweep(trials=5, **RANDOM), known)
    assert [p.job.id for p in proposed(more, 2)] == ["small-3", "small-4"]
    assert more.readiness() == "never"
    fewer = search_of(sweep(trials=2, **RANDOM), known)
    assert (fewer.readiness(), fewer.searched) == ("never", 3)


def test_a_model_that_was_given_up_is_asked_no_more() -> None:
    search = search_of(sweep(trials=4, **RANDOM))
    proposed(search, 1)
    search.give_up()
    assert search.readiness() == "never"


def test_settings_of_others_are_tried_first_but_not_in_a_search_that_goes_on() -> None:
    spec = sweep(
        trials=4, search={"constraint": {"alpha": {"type": "loguniform", "low": 0.001, "high": 1.0}}}, **RANDOM
    )
    settings = {"constraint.alpha": 0.125}
    taught = WarmStart((), (settings,), "")
    search = search_of(spec, earlier=taught)
    search.try_first([{"constraint.alpha": 0.5}])
    alphas = [p.params["constraint.alpha"] for p in proposed(search, 7)[3:]]
    assert alphas[:2] == pytest.approx([0.125, 0.5])
    known = [record_of(p, trade_off(p)) for p in proposed(search_of(spec), 4)]
    assert search_of(spec, known, earlier=taught).propose().params["constraint.alpha"] != pytest.approx(0.125)


def test_an_exhausted_grid_is_said_once_and_ends_the_search() -> None:
    said: list[str] = []
    grid = {"constraint": {"warmup_steps": {"type": "choice", "values": [2, 4, "all"]}}}
    search = search_of(sweep(trials=5, search=grid, searcher={"sampler": "grid"}), said=said)
    assert search.searched == 3
    assert len({p.params["constraint.warmup_steps"] for p in proposed(search, 6)[3:]}) == 3
    assert search.readiness() == "never"
    assert said == ["the grid of small is exhausted after 3 of 5 trials"]
