"""What is repeated under which seed, and what has to end before."""

from typing import Any

import pytest
from front_samples import record
from searches import sweep

from orchestrator.record.trials import Status, TrialRecord
from orchestrator.search.proposal import Proposal
from orchestrator.search.repetitions import next_repetition
from orchestrator.slots.messages import Job
from sweeps.schema.spec import SweepSpec

SPEC = sweep(seeds={"replicates_on_front": 3})
TRIAL = SPEC.trial.model_dump(mode="json")
SURE = 10_000
"""Prompts that leave no doubt who is on the front."""


def run(
    identity: str, rates: tuple[float, float, float] = (0.5, 0.5, 0.1), seed: int = 0, **changes: Any
) -> TrialRecord:
    """One trial that ran, as the journal tells of it."""
    given = {"model": "small", "trial": {**TRIAL, "seed": seed}, "seed": seed, "prompts": SURE, **changes}
    return record(identity, *rates, **given)


def references(*labels: str) -> list[TrialRecord]:
    return [run(f"small-{label}", kind="reference", label=label) for label in labels]


def under_way(identity: str, seed: int, kind: Any = "replicate", of: str | None = None) -> Proposal:
    config = SPEC.trial.model_copy(update={"seed": seed})
    return Proposal("small", kind, identity, {}, Job(identity, SPEC.models[0], config), replicate_of=of)


def wanted(records: list[TrialRecord], running: list[Proposal] | None = None, spec: SweepSpec = SPEC) -> Any:
    found = next_repetition(spec, {one.id: one for one in records}, running or [])
    return found and (found.id, found.seed)


def test_nothing_is_repeated_where_nobody_asked_or_no_trial_keeps_the_rules() -> None:
    able = [*references("ift"), run("small-0")]
    assert wanted(able) == ("small-ift-r1", 1)
    assert wanted(able, spec=sweep()) is None
    assert wanted([*references("ift"), run("small-0", (0.1, 0.9, 0.95))]) is None, "over-refusal is above its bound"
    assert wanted([*references("ift"), run("small-0", status=Status.FAILED)]) is None


def test_trained_references_get_their_seeds_first_and_those_that_run_count() -> None:
    untouched = run("small-base", kind="reference", label="base", trial=None, seed=None)
    records = [untouched, *references("ift"), run("small-0")]
    assert wanted(records) == ("small-ift-r1", 1)
    running = [under_way("small-ift-r1", 1, of="small-ift")]
    assert wanted(records, running) == ("small-ift-r2", 2)
    running.append(under_way("small-ift-r2", 2, of="small-ift"))
    assert wanted(records, running) == ("small-0-r1", 1), "the reference has its three"


def test_a_seed_that_failed_is_not_tried_again() -> None:
    failed = run("small-ift-r1", kind="replicate", seed=1, status=Status.FAILED, replicate_of="small-ift")
    assert wanted([*references("ift"), failed, run("small-0")]) == ("small-ift-r2", 2)


def test_seeds_go_on_from_the_trials_own() -> None:
    alone = run("small-0", seed=7)
    assert wanted([alone]) == ("small-0-r8", 8)
    again = run("small-0-r8", kind="replicate", seed=8, replicate_of="small-0")
    assert wanted([alone, again]) == ("small-0-r9", 9)


def test_trials_wait_until_every_searched_one_has_ended() -> None:
    near = run("small-0", prompts=20)
    assert wanted([near], [under_way("small-1", 0, kind="trial")]) is None
    assert wanted([near], [under_way("small-0-r1", 1, of="small-0")]) == ("small-0-r2", 2)


@pytest.mark.parametrize(("prompts", "expected"), [(SURE, None), (20, ("small-1-r1", 1))])
def test_a_trial_that_is_surely_beaten_is_not_repeated(prompts: int, expected: Any) -> None:
    best = [run("small-0", (0.2, 0.8, 0.1), prompts=prompts)]
    best += [
        run(f"small-0-r{seed}", (0.2, 0.8, 0.1), seed=seed, kind="replicate", replicate_of="small-0", prompts=prompts)
        for seed in (1, 2)
    ]
    beaten = run("small-1", (0.25, 0.75, 0.1), prompts=prompts)
    assert wanted([*best, beaten]) == expected


def test_the_repetition_has_the_trials_settings_under_the_new_seed() -> None:
    trial = run("small-0", seed=4)
    found = next_repetition(SPEC, {trial.id: trial}, [])
    assert found is not None
    assert found.settings == SPEC.trial.model_copy(update={"seed": 5})
