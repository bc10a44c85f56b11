"""The search without Ray: suggestions are taken and ended directly, with results flattened as Tune flattens them."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import pytest
from pydantic import ValidationError
from ray.tune.search import Searcher
from searches import (
    ACCURACY,
    ATTACK,
    REFUSAL,
    Play,
    end,
    measured,
    record_of,
    searcher,
    sweep,
    told,
    trade_off,
    two_models,
)

from orchestrator.record.trials import Status, TrialRecord
from orchestrator.search.proposal import Proposal
from orchestrator.slots.messages import Update
from sweeps.errors import SpecError
from training.evaluation.scores import Scores

SAMPLERS = ("tpe", "nsga2", "gp", "qmc", "random", "grid")
LABELS = ["base", "ift", "ift_safety"]


def trials(play: Play) -> list[Proposal]:
    return [proposal for proposal in play.proposals if proposal.kind == "trial"]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_stays_within_the_space_and_draws_fields_only_where_they_count(sampler: str) -> None:
    count = 40 if sampler == "grid" else 12
    spec = sweep(trials=count, searcher={"sampler": sampler, "startup_trials": 4})
    play = Play(searcher(spec), slots=2).run()
    found = trials(play)
    assert [p.label for p in play.proposals[:3]] == LABELS
    assert len(found) == len({p.job.id for p in found}) == count
    space = spec.space(4)
    for proposal in found:
        params = dict(proposal.params)
        assert space.decode(space.encode(params)) == params
        ends = params["constraint.warmup_steps"] == 4
        assert ("constraint.alpha_after" in params, "lr_warmup_steps" in params) == (ends, ends)
        assert proposal.job.trial == spec.trial_config(params)
    assert {p.params["constraint.warmup_steps"] for p in found} == {4, "all"}
    assert Counter(t["state"] for t in told(play.search)) == {"COMPLETE": count}


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "gp"])
def test_a_sampler_that_learns_finds_what_is_better(sampler: str) -> None:
    """One objective, so that better has one meaning: a low loss, which is at alpha = 0.1 in layer 3."""
    spec = sweep(
        trials=40,
        objectives=[{"metric": "utility/loss", "goal": "minimize", "worst": 9}],
        feasible=[],
        searcher={"sampler": sampler, "startup_trials": 8},
    )

    def measure(proposal: Proposal) -> Update:
        alpha, layer = proposal.params.get("constraint.alpha", 1), proposal.params.get("constraint.layers", 0)
        return measured(Scores({"utility/loss": abs(math.log10(alpha) + 1) + (3 - layer)}))

    ended = Play(searcher(spec), measure).run().records
    losses = [record.select.metrics["utility/loss"] for record in ended if record.kind == "trial"]
    assert median(losses[8:]) < 0.6 * median(losses[:8])


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random", "qmc"])
def test_no_settings_are_run_twice_while_there_are_others(sampler: str) -> None:
    search = {
        "constraint": {"layers": {"type": "layers", "choose": "one"}},
        "safety_share": {"type": "choice", "values": [0.0, 0.1, 0.2]},
    }
    spec = sweep(search=search, trials=14, searcher={"sampler": sampler, "startup_trials": 4})
    found = [tuple(p.params.values()) for p in trials(Play(searcher(spec), slots=3).run())]
    assert len(set(found[:12])) == len(set(found)) == 12
    assert len(found) == 14


def test_what_tune_never_tells_the_end_of_is_known_to_be_under_way() -> None:
    search = searcher(sweep(trials=2))
    for number in range(5):
        search.suggest(f"tune-{number}")
    for number in (0, 1, 2, 4):
        end(search, f"tune-{number}", trade_off(search.proposals[f"tune-{number}"]))
    assert search.under_way == [search.proposals["tune-3"].job.id]
    end(search, "tune-3", None, error=True)
    assert search.under_way == []


def test_the_search_sees_the_select_prompts_through_tunes_flattened_results() -> None:
    play = Play(searcher(sweep(trials=1))).run()
    update = trade_off(trials(play)[0])
    (seen,) = told(play.search)
    assert seen["values"] == [update.select.metrics[ATTACK], update.select.metrics[ACCURACY]] != [0.5, 0.5]
    assert seen["constraints"] == {"safety/over_refusal <= 0.9": 0.0}


def test_the_search_sees_how_far_a_rule_is_broken() -> None:
    metrics = {ATTACK: 0.25, ACCURACY: 0.5, REFUSAL: 0.95}
    play = Play(searcher(sweep(trials=1)), lambda proposal: measured(Scores(metrics))).run()
    (seen,) = told(play.search)
    assert seen["values"] == [0.25, 0.5]
    assert seen["constraints"]["safety/over_refusal <= 0.9"] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("update", "error", "state"),
    [
        (measured(Scores({ATTACK: math.nan, ACCURACY: 0.5})), False, "FAIL"),
        (measured(Scores({ACCURACY: 0.5})), False, "FAIL"),
        (Update("failed", error="diverged"), False, "FAIL"),
        (Update("stopped"), False, "FAIL"),
        (Update("step", scores=Scores({ATTACK: 0.1, ACCURACY: 0.5})), True, "FAIL"),
        (None, True, "FAIL"),
        (Update("pruned", 8, reason="dominated"), False, "PRUNED"),
    ],
)
def test_an_end_without_values_is_told_as_what_it_is(update: Update | None, error: bool, state: str) -> None:
    search = searcher(sweep())
    play = Play(search).run(3)
    play.fill()
    end(search, play.running.popleft(), update, error)
    assert [(seen["state"], seen["values"]) for seen in told(search)] == [(state, None)]


def ends(proposal: Proposal) -> Update:
    """Every kind of end."""
    number = int(proposal.job.id[-2:]) if proposal.kind == "trial" else 0
    if number % 4 == 1:
        return Update("pruned", 4, reason="dominated")
    if number % 4 == 3:
        return Update("failed", error="diverged")
    return trade_off(proposal)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_rebuilt_search_was_told_what_the_uninterrupted_one_was(sampler: str) -> None:
    spec = sweep(searcher={"sampler": sampler, "startup_trials": 4})
    play = Play(searcher(spec), ends).run(13)
    rebuilt = searcher(spec, play.records)
    assert told(rebuilt) == told(play.search)
    rest = Play(rebuilt, ends).run()
    assert [p.job.id for p in rest.proposals] == ["small-10", "small-11"]
    assert not [p for p in rest.proposals if p.params in [record.params for record in play.records]]
    again = Play(searcher(spec, play.records), ends).run()
    assert [p.params for p in again.proposals] == [p.params for p in rest.proposals]


@pytest.mark.parametrize("sampler", ["qmc", "grid"])
def test_points_that_are_given_go_on_where_they_stopped(sampler: str) -> None:
    spec = sweep(searcher={"sampler": sampler})
    whole = trials(Play(searcher(spec)).run())
    part = Play(searcher(spec)).run(8)
    rest = Play(searcher(spec, part.records)).run()
    assert [p.params for p in trials(part) + trials(rest)] == [p.params for p in whole]


def test_a_rebuilt_genetic_search_has_parents() -> None:
    spec = sweep(trials=30, searcher={"sampler": "nsga2", "startup_trials": 4})
    play = Play(searcher(spec)).run(3 + 8)
    rebuilt = searcher(spec, play.records)
    Play(rebuilt).run(1)
    attributes = rebuilt._searches["small"].constraint.study.study.get_trials()[-1].system_attrs
    assert attributes["NSGAIISampler:generation"] == 2


def test_what_was_cut_off_comes_first_under_its_id() -> None:
    spec = sweep(trials=5)
    play = Play(searcher(spec), slots=2)
    play.run(5)
    cut = [play.search.proposals[tune_id] for tune_id in play.running]
    play.fill()
    running = [play.search.proposals[tune_id] for tune_id in play.running]
    stopped = replace(record_of(running[0], None), status=Status.STOPPED)
    known = [*play.records, stopped, *(record_of(proposal, None) for proposal in running[1:])]
    rest = Play(searcher(spec, known), slots=2).run()
    again = rest.proposals[: len(running)]
    assert len(running) == 2 > len(cut)
    assert [(p.job.id, p.params, p.job.trial) for p in again] == [(p.job.id, p.params, p.job.trial) for p in running]
    assert Counter(p.job.id for p in rest.proposals + [q for q in play.proposals if q not in running]) == dict.fromkeys(
        [*(f"small-{label}" for label in LABELS), *(f"small-{number}" for number in range(5))], 1
    )
    assert len(told(rest.search)) == 5


def test_an_unfinished_reference_is_run_again_and_a_finished_one_is_not() -> None:
    spec = sweep(trials=1)
    play = Play(searcher(spec)).run(2)
    play.fill()
    known = [*play.records, record_of(play.search.proposals[play.running[0]], None)]
    assert [p.label for p in Play(searcher(spec, known)).run().proposals] == ["ift_safety", "small-0"]


def test_trials_outside_a_changed_space_are_kept_but_not_learnt_from() -> None:
    play = Play(searcher(sweep(trials=4))).run()
    narrow = {
        "constraint": {"layers": {"type": "layers", "choose": "one"}, "warmup_steps": {"type": "choice", "values": [4]}}
    }
    said: list[str] = []
    extended = searcher(sweep(trials=6, search=narrow), play.records, said.append)
    inside = sum(p.params["constraint.warmup_steps"] == 4 for p in trials(play))
    assert 0 < inside < 4
    assert len(told(extended)) == inside
    assert said == [
        f"{4 - inside} of the 4 trials of small so far lie outside the present ranges: "
        "they are kept, but nothing is learnt from them"
    ]
    assert [p.job.id for p in Play(extended).run().proposals] == ["small-4", "small-5"]


def test_a_grid_is_covered_exactly_once_and_says_when_it_ends() -> None:
    said: list[str] = []
    spec = sweep(trials=500, searcher={"sampler": "grid"})
    search = searcher(spec, say=said.append)
    # 3 alphas and 4 layers, times a warm-up that never ends, or ends and has 2 strengths after it and 3 warm-ups
    assert search.total == 3 + 3 * 4 * (1 + 2 * 3)
    found = [p.params for p in trials(Play(search, slots=3).run())]
    assert sorted(map(repr, found)) == sorted(repr(params) for params in spec.space(4).grid())
    assert said == ["the grid of small is exhausted after 84 of 500 trials"]


def test_a_part_of_a_grid_is_drawn_by_the_seed() -> None:
    one, same, other = (
        [p.params for p in trials(Play(searcher(sweep(searcher={"sampler": "grid", "seed": seed}))).run())]
        for seed in (1, 1, 2)
    )
    assert one == same != other
    assert len({params["constraint.alpha"] for params in one}) == 3


def test_a_grid_that_the_model_makes_too_large_is_refused() -> None:
    wide = {
        "constraint": {"layers": {"type": "layers", "choose": "band"}},
        "steps": {"type": "int", "low": 12, "high": 60_000},
    }
    with pytest.raises(SpecError, match=r"search has 599890 combinations.*100000.*model small"):
        searcher(sweep(search=wide, searcher={"sampler": "grid"}))


def test_qmc_spreads_further_than_chance() -> None:
    """Every run of 8 points of a Sobol sequence has one in each eighth of every axis."""
    search = {"constraint": {"alpha": {"type": "uniform", "low": 0.0, "high": 8.0}}}
    found = trials(Play(searcher(sweep(search=search, trials=16, searcher={"sampler": "qmc"}))).run())
    assert sorted(int(p.params["constraint.alpha"]) for p in found[:8]) == list(range(8))


def test_models_share_the_slots() -> None:
    play = Play(searcher(sweep(models=two_models(), trials=4)), slots=4)
    play.fill()
    assert [p.model for p in play.proposals] == ["small", "deep", "small", "deep"]
    while play.fill():
        models = Counter(play.search.proposals[tune_id].model for tune_id in play.running)
        assert abs(models["small"] - models["deep"]) <= 1
        play.finish_one()
    assert Counter(p.model for p in play.run().proposals) == {"small": 7, "deep": 7}


def test_a_model_searched_later_first_tries_the_front_of_the_one_before() -> None:
    play = Play(searcher(sweep(models=two_models(), trials=8))).run()
    small, deep = ([p for p in trials(play) if p.model == name] for name in ("small", "deep"))
    assert play.proposals.index(small[-1]) < play.proposals.index(deep[0])
    carried = [{**p.params, "constraint.layers": 2 * p.params["constraint.layers"] + 1} for p in small]
    first = [p.params in carried for p in deep]
    assert first[:1] == [True]
    assert first.index(False) <= 4
    assert not any(first[first.index(False) :])


def test_a_sampler_that_learns_nothing_is_taught_nothing() -> None:
    spec = sweep(models=two_models(), trials=3, searcher={"sampler": "random"})

    def measure(proposal: Proposal) -> Update:
        return Update("failed") if proposal.model == "small" else trade_off(proposal)

    taught, untaught = Play(searcher(spec)).run(), Play(searcher(spec), measure).run()
    assert [p.params for p in trials(taught)] == [p.params for p in trials(untaught)]


def test_stop_ends_the_proposals() -> None:
    search = searcher(sweep())
    assert isinstance(search.suggest("a"), dict)
    search.stop()
    assert search.exhausted
    assert search.suggest("b") == Searcher.FINISHED


def close_race(proposal: Proposal) -> Update:
    """All trials measure nearly the same, so that nobody knows who is on the front."""
    number = sum(map(ord, proposal.job.id)) % 3
    counts = {ATTACK: (10 + number, 40), ACCURACY: (30 + number, 40), REFUSAL: (0, 40)}
    return measured(Scores({name: c[0] / c[1] for name, c in counts.items()}, counts))


def test_trials_near_the_front_are_repeated_with_new_seeds() -> None:
    spec = sweep(trials=3, seeds={"replicates_on_front": 3})
    play = Play(searcher(spec), close_race, slots=2).run()
    repeated = [p for p in play.proposals if p.kind == "replicate"]
    assert [p.kind for p in play.proposals] == ["reference"] * 3 + ["trial"] * 3 + ["replicate"] * (4 + 6)
    by_id = {p.job.id: p for p in play.proposals}
    for proposal in repeated:
        original = by_id[str(proposal.replicate_of)]
        assert proposal.job.id == f"{original.job.id}-r{proposal.seed}"
        assert proposal.params == original.params
        assert proposal.job.trial is not None
        assert original.job.trial is not None
        assert proposal.job.trial.model_copy(update={"seed": original.job.trial.seed}) == original.job.trial
    assert Counter(p.seed for p in repeated) == {1: 5, 2: 5}
    assert [p.replicate_of for p in repeated[:4]] == ["small-ift", "small-ift", "small-ift_safety", "small-ift_safety"]
    assert len(told(play.search)) == 3, "replicates teach the front, not the search"


def test_searched_trials_are_judged_at_their_rungs_and_references_are_measured_at_theirs() -> None:
    spec = sweep(trials=2, seeds={"replicates_on_front": 2}, pruning={"rungs": [0.25, 0.5]})
    play = Play(searcher(spec), close_race).run()
    course = (1, 2, 3, 5, 6, 8)  # of 12 steps: 5 %, 10 %, 20 %, 40 %, 70 %, and where trials are judged
    assert {(p.kind, p.job.rungs) for p in play.proposals if p.label != "base"} == {
        ("reference", course),
        ("trial", (3, 6)),
        ("replicate", ()),
    }
    assert {p.kind for p in play.proposals if p.job.judged} == {"trial"}
    unpruned = Play(searcher(sweep(trials=2, pruning=None))).run()
    assert {(p.kind, p.job.rungs) for p in unpruned.proposals if p.label != "base"} == {
        ("reference", (1, 2, 5, 8)),
        ("trial", ()),
    }
    assert {p.job.rungs for p in unpruned.proposals if p.label == "base"} == {()}


def test_a_settled_front_is_not_repeated() -> None:
    def clear(proposal: Proposal) -> Update:
        best = proposal.job.id == "small-1"
        counts = {ATTACK: (1 if best else 90, 100), ACCURACY: (99 if best else 10, 100), REFUSAL: (0, 100)}
        return measured(Scores({name: c[0] / c[1] for name, c in counts.items()}, counts))

    play = Play(searcher(sweep(trials=3, seeds={"replicates_on_front": 5})), clear).run()
    repeated = Counter(p.replicate_of for p in play.proposals if p.kind == "replicate")
    assert repeated == {"small-ift": 4, "small-ift_safety": 4}


def test_trials_wait_for_the_last_searched_one_before_they_are_repeated() -> None:
    play = Play(searcher(sweep(trials=3, seeds={"replicates_on_front": 2})), close_race, slots=4).run()
    kinds = [p.kind for p in play.proposals]
    assert kinds == ["reference"] * 3 + ["trial"] * 3 + ["replicate"] * 5
    assert play.waited


def lossy(error: float | None) -> Callable[[Proposal], Update]:
    """Losses far apart, as sure as ``error`` says."""

    def measure(proposal: Proposal) -> Update:
        number = int(proposal.job.id.split("-")[1][0]) if proposal.kind == "trial" else 0
        errors = {} if error is None else {"utility/loss": error}
        counts = {REFUSAL: (0, 40)}
        return measured(Scores({REFUSAL: 0.0, "utility/loss": 1.0 + number}, counts, errors))

    return measure


@pytest.mark.parametrize(
    ("error", "repeated"),
    [
        (0.01, {}),  # settled: nothing comes near the first
        (0.9, {"small-0": 2, "small-1": 2}),
        (None, {"small-0": 2}),  # nothing is known of the one that looks best, so it gets its seeds
    ],
)
def test_a_loss_is_repeated_as_its_error_demands(error: float | None, repeated: dict[str, int]) -> None:
    objectives = [{"metric": "utility/loss", "goal": "minimize", "worst": 9.0}]
    spec = sweep(trials=3, seeds={"replicates_on_front": 3}, objectives=objectives)
    play = Play(searcher(spec), lossy(error)).run()
    found = Counter(p.replicate_of for p in play.proposals if p.kind == "replicate" and "ift" not in p.job.id)
    assert found == repeated


def test_a_single_configuration_gets_its_seeds() -> None:
    play = Play(searcher(sweep(trials=1, seeds={"replicates_on_front": 3})), close_race).run()
    found = Counter(p.replicate_of for p in play.proposals if p.kind == "replicate")
    assert found == {"small-0": 2, "small-ift": 2, "small-ift_safety": 2}


def test_references_are_not_repeated_where_no_trial_could_be_compared() -> None:
    def fails(proposal: Proposal) -> Update:
        return Update("failed", error="diverged") if proposal.kind == "trial" else close_race(proposal)

    play = Play(searcher(sweep(trials=2, seeds={"replicates_on_front": 3})), fails).run()
    assert [p.kind for p in play.proposals] == ["reference"] * 3 + ["trial"] * 2


def test_replicates_go_on_after_a_rebuild() -> None:
    spec = sweep(trials=3, seeds={"replicates_on_front": 3})
    whole = Play(searcher(spec), close_race).run()
    part = Play(searcher(spec), close_race).run(9)
    part.fill()
    known = [*part.records, record_of(part.search.proposals[part.running[0]], None)]
    rest = Play(searcher(spec, known), close_race).run()
    assert rest.proposals[0] == part.proposals[-1]
    assert rest.proposals[0].kind == "replicate"
    assert {p.job.id for p in part.proposals + rest.proposals} == {p.job.id for p in whole.proposals}
    assert len(part.proposals) + len(rest.proposals) == len(whole.proposals) + 1


def test_a_replicate_that_fails_is_not_tried_for_ever() -> None:
    def measure(proposal: Proposal) -> Update:
        return Update("failed", error="diverged") if proposal.kind == "replicate" else close_race(proposal)

    play = Play(searcher(sweep(trials=2, seeds={"replicates_on_front": 2})), measure).run()
    assert Counter(p.kind for p in play.proposals) == {"reference": 3, "trial": 2, "replicate": 2 + 2}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"searcher": {"sampler": "nsga2", "startup_trials": 1}}, r"startup_trials \(1\).*at least 2"),
        ({"searcher": {"sampler": "grid", "warm_start": ["x"]}}, r"warm_start has no effect on the sampler grid"),
        ({"seeds": {"replicates_on_front": 1}}, r"replicates_on_front \(1\).*at least 2"),
        (
            {"searcher": {"sampler": "grid"}, "search": {"safety_share": {"type": "uniform", "low": 0, "high": 0.5}}},
            r"search.safety_share cannot be put on a grid.*grid_points",
        ),
        (
            {
                "searcher": {"sampler": "grid"},
                "search": {"constraint": {"layers": {"type": "layers", "choose": "subset"}}},
            },
            r"search.constraint.layers cannot be put on a grid.*subsets",
        ),
    ],
)
def test_what_a_sampler_cannot_do_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        sweep(**changes)


def test_a_model_that_cannot_be_prepared_is_given_up_and_the_others_go_on() -> None:
    def measure(proposal: Proposal) -> Update:
        if proposal.model == "small":
            return Update("failed", error="it refuses nothing", unprepared=True)
        return trade_off(proposal)

    play = Play(searcher(sweep(models=two_models(), trials=3)), measure)
    play.run()
    by_model = {name: [p.job.id for p in play.proposals if p.model == name] for name in ("small", "deep")}
    assert by_model["small"] == ["small-base"]
    assert len(by_model["deep"]) == 6


def test_a_resumed_sweep_runs_what_a_fault_of_the_model_kept_from_beginning() -> None:
    failed = TrialRecord("small-base", "small", "reference", "base", Status.FAILED, unprepared=True)
    play = Play(searcher(sweep(trials=1), [failed]))
    play.run()
    assert play.proposals[0].job.id == "small-base"
