import math

import pytest
from pydantic import BaseModel, ValidationError

from sweeps.errors import ObjectiveError, SpecError
from sweeps.goals.metrics import check_metric, known_metric, metric_names
from sweeps.goals.objectives import FeasibilityRule, FeasibleRule, Objective


def test_every_listed_metric_is_known():
    names = metric_names(depth=12, families=["how-to"])
    assert "direction/cosine/layer_11" in names
    assert "utility/accuracy/how-to" in names
    assert len(names) == len(set(names))
    assert all(known_metric(name, depth=12) for name in names)


@pytest.mark.parametrize(
    "name",
    ["accuracy", "utility/accuracy/", "direction/cosine/layer_3", "direction/cosine/layer_003", "direction/cosine"],
)
def test_names_that_no_trial_provides(name):
    assert not known_metric(name)


def test_layers_are_checked_against_depth():
    assert known_metric("direction/displacement/layer_31")
    assert not known_metric("direction/displacement/layer_31", depth=4)
    with pytest.raises(
        ObjectiveError, match=r"objectives\.0\.metric .* has 4 decoder layers: use layer_00 to layer_03"
    ):
        check_metric("direction/displacement/layer_31", "objectives.0.metric", depth=4)


@pytest.mark.parametrize(
    ("written", "offered"),
    [
        ("safety/atack_success_rate", "safety/attack_success_rate"),
        ("attack_success_rate", "safety/attack_success_rate"),
        ("utility/acuracy", "utility/accuracy"),
        ("over_refusal", "safety/over_refusal"),
        ("accuracy", "utility/accuracy"),
        ("direction/cosine/layer_0", "direction/cosine/layer_00"),
    ],
)
def test_misspelt_objective_is_refused_with_an_offer(written, offered):
    with pytest.raises(ValidationError, match=f"did you mean {offered}\\?"):
        Objective(metric=written, goal="minimize")


def test_unrecognisable_objective_is_refused_with_the_list():
    with pytest.raises(ValidationError, match="is not a metric that a trial provides: choose one of"):
        Objective(metric="zzz", goal="minimize")


def test_reference_value_defaults_for_rates_only():
    assert Objective(metric="safety/attack_success_rate", goal="minimize").reference == 1.0
    assert Objective(metric="utility/accuracy/add", goal="maximize").reference == 0.0
    assert Objective(metric="utility/loss", goal="minimize", worst=3.0).reference == 3.0
    with pytest.raises(ValidationError, match="worst is missing for utility/loss"):
        Objective(metric="utility/loss", goal="minimize")


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("safety/over_refusal <= 0.10", 0.10, True),
        ("safety/over_refusal<=0.10", 0.11, False),
        ("utility/accuracy > 0.5", 0.5, False),
        ("utility/accuracy >= .5", 0.5, True),
        ("safety/refusal_log_odds < -1e-1", -0.2, True),
    ],
)
def test_rules_hold(text, value, holds):
    rule = FeasibilityRule.parse(text)
    assert rule.holds({rule.metric: value}) is holds
    assert (rule.violation({rule.metric: value}) > 0) is not holds


def test_rule_without_a_measurement_does_not_hold():
    rule = FeasibilityRule.parse("safety/over_refusal <= 0.1")
    for metrics in ({}, {"safety/over_refusal": math.nan}):
        assert not rule.holds(metrics)
        assert rule.violation(metrics) == math.inf
    assert rule.violation({"safety/over_refusal": 0.35}) == pytest.approx(0.25)


@pytest.mark.parametrize(
    "text", ["safety/over_refusal", "safety/over_refusal = 0.1", "safety/over_refusal <= ten", "", "a b <= 1"]
)
def test_what_is_not_a_rule(text):
    with pytest.raises(ObjectiveError, match="is not a rule: write a metric"):
        FeasibilityRule.parse(text)


def test_rule_on_an_unknown_metric_offers_a_name():
    with pytest.raises(SpecError, match=r"feasible \('safety/over_refusl'\).*did you mean safety/over_refusal\?"):
        FeasibilityRule.parse("safety/over_refusl <= 0.1")


def test_rule_round_trips_through_a_specification():
    class Spec(BaseModel):
        feasible: list[FeasibleRule]

    spec = Spec.model_validate({"feasible": ["safety/over_refusal <= 0.10"]})
    assert spec.feasible[0] == FeasibilityRule(metric="safety/over_refusal", comparison="<=", bound=0.1)
    assert spec.model_dump(mode="json") == {"feasible": ["safety/over_refusal <= 0.1"]}
    assert Spec.model_validate(spec.model_dump()) == spec
    with pytest.raises(ValidationError, match="is not a rule"):
        Spec.model_validate({"feasible": ["nonsense"]})
