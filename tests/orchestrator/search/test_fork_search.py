"""Which trials begin from others, in a search that is driven without Ray."""

from collections.abc import Mapping
from typing import Any

import pytest
from searches import DEPTHS, Play, end, record_of, sweep, trade_off

from orchestrator.record.trials import RungRecord, TrialRecord
from orchestrator.search.forks import CLOCKED, EVERY
from orchestrator.search.proposal import Proposal
from orchestrator.search.searcher import FrontSearcher
from orchestrator.slots.messages import Update
from sweeps.schema.forks import AFTER
from sweeps.schema.spec import SweepSpec
from training.config import shared_steps
from training.evaluation.scores import Scores

SEARCH = {
    "constraint": {
        "alpha": {"type": "choice", "values": [0.1, 0.3]},
        "warmup_steps": {"type": "choice", "values": [4, 8, "all"]},
    }
}
RUNG = {"safety/refusal_log_odds": 1.0, "utility/loss": 2.0}


def forking(**changes: Any) -> SweepSpec:
    return sweep(**{"search": SEARCH, "trials": 6, "pruning": {"rungs": [0.5]}, "arms": ["constraint"], **changes})


def search(spec: SweepSpec, known: list[TrialRecord] = [], lost: Mapping[str, int] = {}) -> FrontSearcher:  # noqa: B006
    def kept(trial: str, step: int) -> bool:
        return lost.get(trial) != step

    return FrontSearcher(spec, DEPTHS, {"broker": "b", "namespace": "n"}, known, print, None, kept)


class Reporting(Play):
    """Every trial reports at steps 4, 8 and 12 and at its rung, those alone that it does itself."""

    def fill(self) -> bool:
        before = set(self.search.proposals)
        more = super().fill()
        for tune_id, proposal in self.search.proposals.items():
            if tune_id not in before and proposal.job.trial is not None:
                self.search.on_trial_result(tune_id, {"updates": updates(proposal)})
        return more


def updates(proposal: Proposal) -> list[Update]:
    fork = proposal.job.fork
    own = [Update("step", step, Scores(dict.fromkeys(["train/loss", *CLOCKED], float(step)))) for step in (4, 8, 12)]
    own += [Update("rung", step, Scores(RUNG)) for step in proposal.job.rungs]
    own = sorted(own, key=lambda update: update.step)
    return own if fork is None else [*fork.updates, *(update for update in own if update.step > fork.step)]


def searched(play: Play) -> list[Proposal]:
    return [one for one in play.proposals if one.kind == "trial"]


def test_a_trial_begins_where_an_earlier_one_that_trains_alike_has_been() -> None:
    found = searched(Reporting(search(forking())).run())
    assert len(found) == 6
    seen: dict[str, Proposal] = {}
    for proposal in found:
        trial, fork = proposal.job.trial, proposal.job.fork
        assert trial is not None
        warmup = trial.constraint.warmup_steps
        assert proposal.job.keeps == ((4, 8) if warmup != 4 else (4,))
        earlier = [
            other.job.trial for other in seen.values() if other.params["constraint.alpha"] == trial.constraint.alpha
        ]
        most = max((shared_steps(trial, one) for one in earlier if one is not None), default=0)
        assert (fork.step if fork else 0) == most
        if fork is not None:
            parent = seen[fork.trial].job.trial
            assert parent is not None
            assert shared_steps(trial, parent) >= fork.step
            said = [(update.kind, update.step) for update in fork.updates]
            rungs = [("rung", step) for step in proposal.job.rungs if step <= fork.step]
            assert sorted(said) == sorted([("step", step) for step in (4, 8) if step <= fork.step] + rungs)
            assert not any(name in update.scores.metrics for update in fork.updates for name in CLOCKED)
        seen[proposal.job.id] = proposal
    assert sum(one.job.fork is not None for one in found) == 4  # of two strengths with three warm-ups each


def test_only_what_is_kept_is_begun_from() -> None:
    spec = forking()
    first = searched(Reporting(search(spec)).run())
    gone = {one.job.id: step for one in first for step in one.job.keeps[-1:]}
    again = searched(Reporting(search(spec, lost=gone)).run())
    assert [one.params for one in again] == [one.params for one in first]
    for proposal in again:
        fork = proposal.job.fork
        assert fork is None or gone[fork.trial] != fork.step
    assert [
        one.job.fork
        for one in searched(Reporting(FrontSearcher(spec, DEPTHS, {"broker": "b", "namespace": "n"})).run())
    ] == [None] * 6


def test_a_step_that_was_only_just_reported_has_no_checkpoint_yet() -> None:
    spec = forking()
    play = Reporting(search(spec)).run(3)  # the references
    assert all(one.job.fork is None and one.job.keeps == () for one in play.proposals)
    found = search(spec)
    proposals: list[Proposal] = []
    for number in range(9):
        found.suggest(f"t{number}")
        proposal = found.proposals[f"t{number}"]
        if proposal.kind == "trial":
            proposals.append(proposal)
            found.on_trial_result(f"t{number}", {"updates": [Update("step", 4, Scores({"train/loss": 1.0}))]})
    assert [one.job.fork for one in proposals] == [None] * 6


@pytest.mark.parametrize("status", ["pruned", "failed"])
def test_one_begins_from_a_trial_that_was_ended_early(status: str) -> None:
    def ends(proposal: Proposal) -> Update:
        return Update(status, 8) if proposal.kind == "trial" else trade_off(proposal)  # type: ignore[arg-type]

    found = searched(Reporting(search(forking()), ends).run())
    assert sum(one.job.fork is not None for one in found) == 4


def test_a_rung_before_the_fork_that_the_other_did_not_have_is_not_left_out() -> None:
    """The specification was changed to judge at step 3, where an earlier driver's trials were not measured."""
    known = _known(forking(), 4)
    assert any(one.job.fork for one in searched(Reporting(search(forking(), known)).run()))
    changed = forking(
        pruning={"rungs": [0.25]}, trials=9, search={**SEARCH, "safety_share": {"type": "choice", "values": [0.0]}}
    )
    for proposal in searched(Reporting(search(changed, known)).run()):
        fork = proposal.job.fork
        if fork is not None and fork.trial in {one.id for one in known}:
            assert fork.step < 3


def _known(spec: SweepSpec, trials: int) -> list[TrialRecord]:
    """What the journal says of a sweep whose first ``trials`` searched ones have ended."""
    play = Reporting(search(spec)).run(3 + trials)
    found = []
    for proposal, record in zip(play.proposals, play.records, strict=False):
        said = updates(proposal) if proposal.job.trial is not None else []
        found.append(
            TrialRecord(
                **{
                    **vars(record),
                    "history": tuple((one.step, dict(one.scores.metrics)) for one in said if one.kind == "step"),
                    "rungs": tuple(RungRecord(one.step, one.scores) for one in said if one.kind == "rung"),
                }
            )
        )
    return found


def test_a_resumed_search_begins_from_what_its_journal_tells_of() -> None:
    spec = forking()
    known = _known(spec, 5)
    cut_off = record_of(searched(Reporting(search(spec)).run())[5], None)
    found = searched(Reporting(search(spec, [*known, cut_off])).run())
    assert [one.job.id for one in found] == [cut_off.id]
    assert found[0].job.fork is not None
    assert found[0].job.fork.trial in {one.id for one in known}


def test_replicates_and_references_never_begin_from_others() -> None:
    spec = forking(seeds={"replicates_on_front": 2})
    play = Reporting(search(spec)).run()
    others = [one for one in play.proposals if one.kind != "trial"]
    assert {one.kind for one in others} == {"reference", "replicate"}
    assert all(one.job.fork is None and one.job.keeps == () for one in others)


def test_one_in_three_tries_another_end_of_a_trial_on_the_front() -> None:
    """Of strengths that are drawn from a range no two are alike by chance."""
    ranges = {**SEARCH["constraint"], "alpha": {"type": "loguniform", "low": 0.01, "high": 3.0}}
    spec = forking(search={"constraint": ranges}, trials=20, searcher={"startup_trials": 4})
    found = searched(Reporting(search(spec)).run())
    forks = [number for number, one in enumerate(found) if one.job.fork is not None]
    assert forks
    assert all(number >= AFTER * 4 and number % EVERY == 0 for number in forks)
    settings = [tuple(one.params.values()) for one in found]
    assert len(set(settings)) == len(settings)
    without = searched(
        Reporting(search(forking(search={"constraint": ranges}, trials=20, searcher={"forks": False}))).run()
    )
    assert all(one.job.fork is None and one.job.keeps == () for one in without)


def test_full_tuning_shares_nothing_unless_it_is_asked_to() -> None:
    full = {**sweep().trial.model_dump(), "tuning": {"type": "full"}}
    assert not any(one.job.keeps for one in searched(Reporting(search(forking(trial=full))).run()))
    assert any(one.job.fork for one in searched(Reporting(search(forking(trial=full, searcher={"forks": True}))).run()))


def test_what_a_trial_said_before_it_died_counts_once() -> None:
    spec = forking()
    found = search(spec)
    for number in range(4):
        found.suggest(f"t{number}")
    proposal = found.proposals["t3"]
    for _ in range(2):
        found.on_trial_result("t3", {"updates": updates(proposal)})
    end(found, "t3", trade_off(proposal))
    for number in range(4, 9):
        found.suggest(f"t{number}")
    fork = next(one.job.fork for one in found.proposals.values() if one.job.fork is not None)
    said = [(update.kind, update.step) for update in fork.updates]
    assert len(said) == len(set(said))
