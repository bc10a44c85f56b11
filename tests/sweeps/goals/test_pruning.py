import math
import re

import numpy as np
import pytest
from pydantic import ValidationError

from sweeps.errors import ObjectiveError
from sweeps.goals.objectives import Objective
from sweeps.goals.pruning import PruningConfig, RungResult, decide, rung_result, rung_steps
from sweeps.goals.rung_metrics import rung_goals
from sweeps.statistics.intervals import wilson_interval
from sweeps.statistics.pareto import non_dominated
from training.evaluation.scores import Scores

TWO = ("maximize", "minimize")


def result(number, *values, errors=None):
    return RungResult(f"trial-{number}", tuple(map(float, values)), tuple(errors or [0.0] * len(values)))


def population(seed, size=20, objectives=2, error=0.0):
    values = np.random.default_rng(seed).normal(size=(size, objectives))
    return [result(number, *row, errors=[error] * objectives) for number, row in enumerate(values)]


def test_one_objective_is_plain_asynchronous_successive_halving():
    losses = [5.0, 4.0, 6.0, 3.0, 3.5, 2.0, 9.0, 2.5, 1.0]
    config = PruningConfig(reduction=3, minimum=2, confidence=0)
    seen, pruned = [], []
    for number, loss in enumerate(losses):
        new = result(number, loss)
        pruned.append(decide(new, seen, ["minimize"], config).prune)
        seen.append(new)
    # n seen:  1      2      3     4      5     6      7     8      9; the best max(1, n // 3) go on
    assert pruned == [False, False, True, False, True, False, True, False, False]


@pytest.mark.parametrize("confidence", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(8))
def test_a_trial_that_nothing_dominates_goes_on(confidence, seed):
    results = population(seed, error=0.1)
    front = non_dominated([r.values for r in results], TWO)
    config = PruningConfig(reduction=10, minimum=2, confidence=confidence)
    decisions = [decide(r, results, TWO, config) for r in results]
    assert not any(d.prune for d, member in zip(decisions, front, strict=True) if member)
    assert any(d.prune for d in decisions)


def test_order_and_directions_have_no_effect():
    generator = np.random.default_rng(2)
    results = population(11, size=15, error=0.2)
    config = PruningConfig(minimum=2)
    for new in results:
        others = [results[i] for i in generator.permutation(15)]
        turned = [RungResult(r.id, (-r.values[0], r.values[1]), r.errors) for r in others]
        decision = decide(new, results, TWO, config)
        assert decide(new, others, TWO, config) == decision
        turned_new = RungResult(new.id, (-new.values[0], new.values[1]), new.errors)
        assert decide(turned_new, turned, ("minimize", "minimize"), config) == decision


def test_guard_keeps_what_is_within_its_error():
    others = [result(0, 1.0, 1.0)]
    behind = (0.0, 1.0)  # dominated by trial-0, by 1.0 in the first objective
    near = result("new", *behind, errors=[0.7, 0.0])  # 90 % reaches 1.15 further
    far = result("new", *behind, errors=[0.5, 0.0])  # 90 % reaches 0.82 further
    config = PruningConfig(minimum=2, reduction=8, confidence=0.9)
    assert decide(far, others, TWO, config).prune
    kept = decide(near, others, TWO, config)
    assert not kept.prune
    assert "no trial dominates it within its 90% interval" in kept.reason
    assert decide(near, others, TWO, PruningConfig(minimum=2, reduction=8, confidence=0)).prune
    assert decide(near, others, TWO, PruningConfig(minimum=2, reduction=8, confidence=0.5)).prune


def test_the_best_share_by_crowding_goes_on_although_dominated():
    """Behind a front of two come three trials of the next rank: the ends of it are lonelier than its middle."""
    others = [result(0, 10, 0), result(1, 9, -1), result(2, 8.0, 2.0), result(3, 6.0, -0.5), result(4, 0, 9)]
    middle = result("new", 7.0, 0.5)
    config = PruningConfig(minimum=2, reduction=1.5, confidence=0)  # 4 of 6 go on
    assert decide(middle, others, TWO, config).prune
    assert not decide(others[3], [middle, *others], TWO, config).prune
    assert not decide(middle, others, TWO, PruningConfig(minimum=2, reduction=1.1, confidence=0)).prune  # 5 of 6


def test_nothing_is_pruned_before_the_minimum():
    worst, others = result("new", 9.0), [result(number, float(number)) for number in range(4)]
    assert not decide(worst, others, ["minimize"], PruningConfig(minimum=6, confidence=0)).prune
    assert decide(worst, others, ["minimize"], PruningConfig(minimum=5, confidence=0)).prune


def test_earlier_attempts_and_unmeasured_trials_do_not_count():
    config = PruningConfig(minimum=3, confidence=0)
    new, rival = result("new", 2.0), result(0, 1.0)
    attempt, unmeasured = result("new", 0.5), result(1, math.nan)
    assert not decide(new, [rival, attempt, unmeasured], ["minimize"], config).prune  # two of three
    assert decide(new, [rival, result(2, 1.5), attempt], ["minimize"], config).prune
    found = decide(result("new", math.nan), [rival, result(2, 1.5)], ["minimize"], config)
    assert (found.prune, "could not be measured" in found.reason) == (False, True)


def test_an_error_without_bound_keeps_a_trial_only_where_the_guard_is_on():
    others = [result(number, float(number)) for number in range(5)]
    new = result("new", 9.0, errors=[math.inf])  # from a single prompt
    assert not decide(new, others, ["minimize"], PruningConfig()).prune
    assert decide(new, others, ["minimize"], PruningConfig(confidence=0)).prune


def test_results_must_fit_the_goals():
    with pytest.raises(ValueError, match="trial-0 must hold one value and one error for each goal"):
        decide(result("new", 1.0), [result(0, 1.0, 2.0)], ["minimize"], PruningConfig())


def test_rung_steps_are_distinct_and_within_the_trial():
    assert rung_steps(PruningConfig(), 100) == (40, 70)
    assert rung_steps(PruningConfig(rungs=[0.01, 0.02, 0.5, 0.99]), 10) == (1, 5)
    assert rung_steps(PruningConfig(), 2) == (1,)
    assert rung_steps(PruningConfig(), 1) == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rungs", [0.5, 0.25]),
        ("rungs", [0.5, 0.5]),
        ("rungs", [0.0]),
        ("rungs", [1.0]),
        ("rungs", []),
        ("reduction", 1),
        ("minimum", 1),
        ("confidence", 1.0),
    ],
)
def test_impossible_settings_are_refused(field, value):
    with pytest.raises(ValidationError, match=field):
        PruningConfig(**{field: value})


def goals_of(*objectives, metrics=None):
    return rung_goals([Objective(metric=m, goal=g, worst=1.0) for m, g in objectives], metrics or {})


def test_goals_turn_round_where_the_rung_metric_falls_as_the_objective_rises():
    assert goals_of(("safety/attack_success_rate", "minimize"), ("utility/accuracy", "maximize")) == [
        ("safety/refusal_log_odds", "maximize"),
        ("utility/loss", "minimize"),
    ]
    assert goals_of(("safety/compliance_rate/harmful", "maximize")) == [("safety/refusal_log_odds", "minimize")]
    assert goals_of(("utility/accuracy/sums", "maximize")) == [("utility/loss", "minimize")]
    assert goals_of(("direction/cosine/layer_02", "maximize")) == [("direction/cosine/layer_02", "maximize")]
    assert goals_of(("utility/loss", "minimize")) == [("utility/loss", "minimize")]


def test_other_rung_metrics_may_be_chosen():
    assert goals_of(
        ("safety/attack_success_rate", "minimize"),
        ("safety/over_refusal", "minimize"),
        ("utility/accuracy", "maximize"),
        metrics={
            "safety/attack_success_rate": "safety/refusal_unlikely",
            "safety/over_refusal": "safety/refusal_log_odds",
            "utility/accuracy": "utility/forced_match",
        },
    ) == [
        ("safety/refusal_unlikely", "minimize"),
        ("safety/refusal_log_odds", "minimize"),
        ("utility/forced_match", "maximize"),
    ]


@pytest.mark.parametrize(
    ("metric", "metrics", "message"),
    [
        ("safety/over_refusal", {}, "nothing for the objective 'safety/over_refusal'.*pruning: null"),
        ("train/penalty", {}, "nothing for the objective 'train/penalty'"),
        ("utility/accuracy", {"utility/accuracy": "utility/accuracy"}, "is not measured at rungs: choose one of"),
        (
            "utility/accuracy",
            {"utility/accuracy": "safety/refusal_log_odds"},
            "something else than the objective: choose utility/loss or utility/forced_match",
        ),
        ("utility/accuracy", {"utility/los": "utility/loss"}, "'utility/los'.*is not an objective"),
    ],
)
def test_objectives_without_a_rung_metric_are_named(metric, metrics, message):
    with pytest.raises(ObjectiveError, match=message) as error:
        goals_of((metric, "minimize"), metrics=metrics)
    assert re.match("pruning.metrics", str(error.value))


def test_rung_result_takes_errors_of_rates_from_their_counts():
    chosen = [
        ("safety/refusal_unlikely", "minimize"),
        ("utility/loss", "minimize"),
        ("utility/forced_match", "maximize"),
    ]
    metrics = {"safety/refusal_unlikely": 0.0, "utility/loss": 1.5}
    scores = Scores(metrics, {"safety/refusal_unlikely": (0, 50)}, {"utility/loss": 0.2})
    found = rung_result("a", chosen, scores)
    low, high = wilson_interval(0, 50, 0.6826894921370859)
    assert found.values[:2] == (0.0, 1.5)
    assert math.isnan(found.values[2])
    assert found.errors == pytest.approx(((high - low) / 2, 0.2, 0.0))
    assert found.errors[0] > 0
