"""Which scaled models a proposal asks for."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from front_samples import record
from searches import ACCURACY, ATTACK, Play, searcher, sweep, trade_off

from orchestrator.record.trials import Status, TrialRecord, at_scale
from orchestrator.search.proposal import Proposal
from orchestrator.search.repetitions import next_repetition
from orchestrator.search.scalings import Scalings
from orchestrator.slots.log import Log
from orchestrator.slots.messages import Axis, Job, ScaledScores, ScalingJob, Update
from sweeps.schema.arms import CONSTRAINT, PLAIN
from training.evaluation.scores import Scores

SCALED = {"evaluation": {"scales": [0.75, 1.0, 0.5]}}
ODDS, LOSS = "safety/refusal_log_odds", "utility/loss"


def run(identity: str, attack: float, accuracy: float, **changes: Any) -> TrialRecord:
    scores = Scores({ODDS: 10 * (1 - attack), LOSS: 1 - accuracy, ATTACK: attack, ACCURACY: accuracy})
    return record(identity, scores=scores, **{"trial": {"seed": 0}, **changes})


def test_nothing_is_asked_where_no_scale_is_listed() -> None:
    assert Scalings(sweep()).of("trial", None, CONSTRAINT, []) is None
    assert Scalings(sweep(evaluation={"scales": [1.0]})).of("trial", None, CONSTRAINT, []) is None


def test_a_trial_has_to_hold_its_own_against_the_best_of_its_arm_and_a_reference_against_nothing() -> None:
    known = [run("a", 0.1, 0.2), run("b", 0.4, 0.8), run("c", 0.5, 0.7), run("d", 0.0, 0.9, arm=PLAIN)]
    known += [run("e", 0.0, 1.0, status=Status.FAILED), run("ift", 0.3, 0.95, kind="reference", label="ift")]
    known.append(run("base", 0.0, 0.1, kind="reference", label="base", trial=None))
    known.append(at_scale(known[0], 0.5, Scores(), known[1].report, run("x", 0.05, 0.1).select, 10))
    scalings = Scalings(sweep(**SCALED))
    job = scalings.of("trial", None, CONSTRAINT, known)
    assert job is not None
    assert job.scales == (0.5, 0.75)
    assert job.axes == (
        Axis(ATTACK, "minimize", ODDS, rising=False),
        Axis(ACCURACY, "maximize", LOSS, rising=False),
    )
    assert set(job.rivals) == {(0.1, 0.2), (0.4, 0.8), (0.05, 0.1)}, "c is beaten by b"
    assert ((10.0, 0.9), (0.0, 0.1)) in job.known, "the untouched model teaches too"
    assert len(job.known) == 7
    plain = scalings.of("trial", None, PLAIN, known)
    assert plain is not None
    assert set(plain.rivals) == {(0.0, 0.9), (0.3, 0.95)}, "plain fine-tuning itself among them"
    reference = scalings.of("reference", None, CONSTRAINT, known)
    assert reference is not None
    assert (reference.scales, reference.axes) == ((0.5, 0.75), ())


def test_all_or_those_of_plain_fine_tuning_alone_may_be_asked_for() -> None:
    known = [run("a", 0.1, 0.2)]
    whole = Scalings(sweep(evaluation={"scales": [0.5], "scales_of": "all"}))
    assert whole.of("trial", None, CONSTRAINT, known) == ScalingJob((0.5,))
    plain = Scalings(sweep(evaluation={"scales": [0.5], "scales_of": "plain"}))
    assert plain.of("trial", None, CONSTRAINT, known) is None
    assert plain.of("trial", None, CONSTRAINT, known, constrained=False) == ScalingJob((0.5,))
    assert plain.of("reference", None, CONSTRAINT, known) == ScalingJob((0.5,))
    alphas = {"constraint": {"alpha": {"type": "choice", "values": [0.0, 0.1]}}}
    spec = sweep(evaluation={"scales": [0.5], "scales_of": "plain"}, search=alphas)
    jobs = [one.job for one in Play(searcher(spec)).run().proposals if one.kind == "trial"]
    assert {job.trial.constraint.plain: job.scaling is not None for job in jobs if job.trial} == {
        True: True,
        False: False,
    }


def test_a_job_outlives_the_brokers_process(tmp_path: Path) -> None:
    job = Scalings(sweep(**SCALED)).of("trial", None, CONSTRAINT, [run("a", 0.1, 0.2), run("b", math.nan, 0.8)])
    assert job is not None
    assert len(job.known) == 1
    spec = sweep()
    log = Log(tmp_path / "broker.jsonl")
    log.append("submit", (Job("a", spec.models[0], spec.trial, scaling=job),), "a")
    assert next(Log(tmp_path / "broker.jsonl").lines())[1][0].scaling == job


def test_a_replicate_measures_what_its_trial_did() -> None:
    trial = run("a", 0.1, 0.2)
    half = at_scale(trial, 0.5, Scores(), trial.report, trial.select, 10)
    scalings = Scalings(sweep(**SCALED))
    job = scalings.of("replicate", "a", CONSTRAINT, [trial, half])
    assert job is not None
    assert (job.scales, job.axes) == ((0.5,), ())
    assert scalings.of("replicate", "a", CONSTRAINT, [trial]) is None


def test_an_objective_without_a_rung_metric_lets_all_be_measured() -> None:
    objectives = [{"metric": "safety/over_refusal", "goal": "minimize"}]
    job = Scalings(sweep(**SCALED, objectives=objectives, feasible=[])).of("trial", None, CONSTRAINT, [])
    assert job is not None
    assert (job.axes, job.rivals) == ((), ())


def test_a_scaled_model_on_the_front_is_repeated_with_its_training() -> None:
    spec = sweep(**SCALED, seeds={"replicates_on_front": 2})
    trial = record("small-0", 0.6, 0.6, model="small", trial={**spec.trial.model_dump(mode="json"), "seed": 0}, seed=0)
    better = record("x", 0.1, 0.7, prompts=20)
    half = at_scale(trial, 0.5, Scores(), better.report, better.select, 10)
    ended = {one.id: one for one in (trial, half)}
    found = next_repetition(spec, ended, [])
    assert found is not None
    assert (found.id, found.trial.id) == ("small-0-r1", "small-0")
    again = replace(trial, id="small-0-r1", kind="replicate", replicate_of="small-0", seed=1)
    again = replace(again, trial={**(trial.trial or {}), "seed": 1})
    both = [again, at_scale(again, 0.5, Scores(), better.report, better.select, 10)]
    assert next_repetition(spec, {**ended, **{one.id: one for one in both}}, []) is None


def test_they_are_no_trials_of_the_search() -> None:
    """The budget counts trainings, and the sampler is told of them alone."""

    def with_scales(proposal: Proposal) -> Update:
        update = trade_off(proposal)
        scales = proposal.job.scaling.scales if proposal.job.scaling else ()
        points = tuple(ScaledScores(scale, update.select, update.report, update.select) for scale in scales)
        return replace(update, scaled=points)

    without = Play(searcher(sweep())).run().proposals
    found = Play(searcher(sweep(**SCALED)), with_scales).run().proposals
    assert [(one.job.id, one.params) for one in found] == [(one.job.id, one.params) for one in without]
    assert [one.kind for one in found if one.job.scaling is None] == ["reference"], "of the untouched model"
