"""A search with two arms: they take turns, learn by themselves, and are judged by themselves."""

from types import SimpleNamespace
from typing import Any

import pytest
from searches import record_of, searcher, sweep, trade_off
from small_sweeps import small_sweep
from test_model_search import ended, proposed, search_of
from test_scheduler import Verdicts, at_rung

from orchestrator.record.trials import RungRecord, Status, TrialRecord
from orchestrator.search.scheduler import DominanceScheduler
from training.config import UNCONSTRAINED

BOTH: dict[str, Any] = {"arms": ["constraint", "plain"], "search": small_sweep()["search"]}
SAMPLERS = ["random", "tpe", "qmc"]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_arms_take_turns(sampler: str) -> None:
    found = proposed(search_of(sweep(trials=5, searcher={"sampler": sampler}, **BOTH)), 3 + 5)[3:]
    assert [p.arm for p in found] == ["constraint", "plain", "constraint", "plain", "constraint"]
    assert [p.job.id for p in found] == [f"small-{number}" for number in range(5)]
    for proposal in found[1::2]:
        assert set(proposal.params) == {"learning_rate", "steps", "safety_share"}
        assert proposal.job.trial is not None
        assert proposal.job.trial.constraint == UNCONSTRAINED
        assert proposal.job.trial.learning_rate == proposal.params["learning_rate"]
    for proposal in found[0::2]:
        assert "constraint.alpha" in proposal.params
        assert "learning_rate" not in proposal.params


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_arm_is_proposed_what_it_would_be_alone(sampler: str) -> None:
    settings = {"searcher": {"sampler": sampler, "startup_trials": 2}, "search": small_sweep()["search"]}
    alone = [p.params for p in proposed(search_of(sweep(trials=4, **settings)), 3 + 4)[3:]]
    beside = [p.params for p in proposed(search_of(sweep(trials=8, **{**settings, **BOTH})), 3 + 8)[3::2]]
    assert beside == alone


def test_a_rebuilt_search_goes_on_with_both() -> None:
    spec = sweep(trials=6, searcher={"sampler": "random"}, **BOTH)
    first = search_of(spec)
    known = []
    for _ in range(3 + 3):
        proposal = first.propose()
        known.append(ended(first, proposal))
    known.append(record_of(first.propose(), None))  # of the plain arm, and cut off
    again = search_of(spec, known)
    assert again.searched == 6
    found = proposed(again, 3)
    assert (found[0].job.id, found[0].arm, found[0].job.trial) == ("small-3", "plain", known[-1] and _trial(known[-1]))
    assert [(p.job.id, p.arm) for p in found[1:]] == [("small-4", "constraint"), ("small-5", "plain")]
    assert again.readiness() == "never"


def _trial(record: TrialRecord) -> Any:
    from training.config import TrialConfig

    return TrialConfig.model_validate(record.trial)


def test_a_replicate_is_of_the_arm_of_its_trial() -> None:
    spec = sweep(trials=2, seeds={"replicates_on_front": 2}, searcher={"sampler": "random"}, feasible=[], **BOTH)
    search, found = search_of(spec), []
    while search.readiness() == "now":
        found.append(search.propose())
        ended(search, found[-1])
    arms = {p.job.id: p.arm for p in found if p.kind == "trial"}
    repeated = [p for p in found if p.kind == "replicate" and p.replicate_of in arms]
    assert repeated
    assert all(p.arm == arms[str(p.replicate_of)] for p in repeated)


def test_a_trial_is_judged_against_its_own_arm_alone() -> None:
    spec = sweep(trials=12, pruning={"rungs": [0.5], "minimum": 3}, searcher={"sampler": "random"}, **BOTH)
    search, broker = searcher(spec), Verdicts()
    known = [  # constrained trials that are far better than anything to come
        TrialRecord(
            f"known-{number}",
            "small",
            "trial",
            "x",
            Status.PRUNED,
            rungs=(RungRecord(6, at_rung(6, 50 + number).scores),),
            trial=spec.trial_config({}).model_dump(mode="json"),
        )
        for number in range(4)
    ]
    for number in range(3 + 2):
        search.suggest(f"tune-{number}")
    constrained, plain = (search.proposals[name] for name in ("tune-3", "tune-4"))
    scheduler = DominanceScheduler(spec, search, broker, known, slots=0)
    for name, proposal in (("tune-3", constrained), ("tune-4", plain)):
        update = at_rung(proposal.job.rungs[0], 1)
        scheduler.on_trial_result(None, SimpleNamespace(trial_id=name), {"updates": [update]})
    assert [reason is not None for reason in broker.given.values()] == [True, False]
    assert trade_off(plain).report.metrics
