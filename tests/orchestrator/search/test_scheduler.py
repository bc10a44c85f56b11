"""What the scheduler decides at rungs, from its proposals to the verdicts that slots get."""

from types import SimpleNamespace
from typing import Any

import pytest
from searches import searcher, sweep

from orchestrator.record.trials import RungRecord, Status, TrialRecord
from orchestrator.search.scheduler import DominanceScheduler
from orchestrator.search.searcher import FrontSearcher
from orchestrator.slots.messages import Update
from sweeps.goals.pruning import rung_steps
from sweeps.schema.spec import SweepSpec
from training.evaluation.scores import Scores

LENGTHS = (5, 10, 15, 20, 25, 30)
"""Extra warm-ups that a search draws from: no two trials are at their first rung after the same step."""


class Verdicts:
    """Stands where the broker's handle does."""

    def __init__(self) -> None:
        self.given: dict[tuple[str, int], str | None] = {}
        self.verdict = SimpleNamespace(remote=self._take)

    def _take(self, job_id: str, step: int, prune: str | None) -> None:
        self.given[job_id, step] = prune


def extra_warmups() -> SweepSpec:
    """A search over how long an extra warm-up is, and so over how many steps a trial has."""
    trial = {"steps": 20, "constraint": {"type": "procon", "warmup": "extra", "alpha_after": 0.01}}
    search = {"constraint": {"warmup_steps": {"type": "choice", "values": list(LENGTHS)}}}
    return sweep(
        trial=trial, search=search, trials=6, searcher={"sampler": "grid"}, pruning={"rungs": [0.4, 0.7], "minimum": 3}
    )


def proposed(search: FrontSearcher) -> dict[str, Any]:
    """The searched trials of ``search``, by Tune's id."""
    for number in range(3 + 6):
        search.suggest(f"tune-{number}")
    return {tune_id: p for tune_id, p in search.proposals.items() if p.kind == "trial"}


def at_rung(step: int, quality: int) -> Update:
    """A measurement that leaves no doubt which of two qualities is better."""
    metrics = {"safety/refusal_log_odds": float(quality), "utility/loss": 10.0 - quality}
    return Update("rung", step, Scores(metrics, errors=dict.fromkeys(metrics, 0.01)))


def test_trials_of_different_lengths_meet_at_the_same_share_of_their_steps() -> None:
    spec, broker = extra_warmups(), Verdicts()
    search = searcher(spec)
    scheduler = DominanceScheduler(spec, search, broker, [], slots=0)
    trials = proposed(search)
    steps = {tune_id: proposal.job.rungs for tune_id, proposal in trials.items()}
    assert len(set(steps.values())) == len(LENGTHS)
    assert len({rungs[0] for rungs in steps.values()}) == len(LENGTHS)
    for quality, tune_id in enumerate(reversed(trials)):  # each is better than all before it but the last two
        worst = quality >= 4
        update = at_rung(steps[tune_id][0], -quality if worst else quality)
        scheduler.on_trial_result(None, SimpleNamespace(trial_id=tune_id), {"updates": [update]})
    reasons = list(broker.given.values())
    assert len(reasons) == 6
    assert reasons[:4] == [None] * 4
    assert all(reason and "dominated by" in reason for reason in reasons[4:])


def test_a_resumed_search_compares_with_what_was_measured_at_that_share() -> None:
    spec, broker = extra_warmups(), Verdicts()
    search = searcher(spec)
    trials = proposed(search)
    (last_id, last), *others = reversed(trials.items())
    assert spec.pruning is not None
    known = []
    for quality, (_, proposal) in enumerate(others):
        assert proposal.job.trial is not None
        total = proposal.job.trial.total_steps
        step = rung_steps(spec.pruning, total)[0]
        found = at_rung(step, quality)
        rungs = (RungRecord(step, found.scores),)
        known.append(
            TrialRecord(proposal.job.id, "small", "trial", "x", Status.PRUNED, rungs=rungs, trial=proposal.settings)
        )
    scheduler = DominanceScheduler(spec, search, broker, known, slots=0)
    update = at_rung(last.job.rungs[0], -1)
    scheduler.on_trial_result(None, SimpleNamespace(trial_id=last_id), {"updates": [update]})
    (reason,) = broker.given.values()
    assert reason is not None
    assert "dominated by" in reason


@pytest.mark.parametrize("total", [1, 2, 3, 12, 150, 173])
def test_every_rung_of_a_trial_is_known_again(total: int) -> None:
    from sweeps.goals.pruning import PruningConfig, rung_at

    config = PruningConfig(rungs=[0.1, 0.4, 0.7])
    found = [rung_at(config, total, step) for step in rung_steps(config, total)]
    assert None not in found
    assert found == sorted(set(found))  # type: ignore[type-var]
    assert rung_at(config, total, total) is None
    if total > 20:
        assert found == [0.1, 0.4, 0.7]
        assert rung_at(config, total, 1 + rung_steps(config, total)[0]) is None
