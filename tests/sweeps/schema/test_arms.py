"""The arms of a search as a specification gives them: what plain fine-tuning is searched over, and what is refused."""

from typing import Any

import pytest

from sweeps.cost.cost import model_work
from sweeps.errors import SpecError
from sweeps.schema.load import load_spec
from sweeps.schema.spec import SweepSpec
from training.config import UNCONSTRAINED

TRIAL: dict[str, Any] = {"steps": 12, "batch_size": 16, "learning_rate": 3e-3}
SEARCH = {
    "constraint": {"alpha": {"type": "loguniform", "low": 3e-3, "high": 3.0}},
    "safety_share": {"type": "choice", "values": [0.0, 0.1]},
}


def spec(**changes: Any) -> SweepSpec:
    demo = load_spec("demo").model_dump(mode="json")
    both = {"arms": ["constraint", "plain"], "trial": TRIAL, "search": SEARCH}
    return SweepSpec.model_validate({**demo, **both, **changes})


def test_plain_fine_tuning_is_searched_by_rate_and_length_and_whatever_is_of_no_constraint() -> None:
    ranges = spec().ranges_by_arm["plain"]
    assert list(ranges) == ["safety_share", "learning_rate", "steps"]
    assert ranges["learning_rate"].extremes() == pytest.approx([3e-4, 6e-3])
    assert ranges["steps"].extremes() == [3, 6, 12]


def test_its_own_ranges_take_the_place_of_the_default_ones() -> None:
    plain = {"search": {"batch_size": {"type": "choice", "values": [8, 16]}}}
    assert list(spec(plain=plain).ranges_by_arm["plain"]) == ["safety_share", "batch_size"]


def test_lengths_that_no_trial_can_have_are_not_searched() -> None:
    trial = {**TRIAL, "steps": 4}
    assert spec(trial=trial, search={}).ranges_by_arm["plain"]["steps"].extremes() == [1, 2, 4]
    trial = {**TRIAL, "steps": 1}
    assert list(spec(trial=trial, search={}).ranges_by_arm["plain"]) == ["learning_rate"]


def test_a_length_in_epochs_is_searched_in_epochs() -> None:
    trial = {**TRIAL, "epochs": 2.0}
    del trial["steps"]
    counted = spec(trial=trial, search={}).with_task_samples(160)
    assert counted.ranges_by_arm["plain"]["epochs"].extremes() == [0.5, 1.0, 2.0]
    assert counted.trial_config({"epochs": 0.5}, "plain").steps == 5


def test_a_plain_trial_has_no_constraint_whatever_the_specification_fixes() -> None:
    trial = {**TRIAL, "constraint": {"type": "kl_reference", "alpha": 2.0}}
    config = spec(trial=trial, search={}).trial_config({"learning_rate": 1e-3}, "plain")
    assert (config.constraint, config.learning_rate) == (UNCONSTRAINED, 1e-3)


def test_the_plan_knows_the_longest_plain_trial() -> None:
    longer = {"search": {"steps": {"type": "choice", "values": [12, 48]}}}
    assert (model_work(spec()).steps, model_work(spec(plain=longer)).steps) == (12, 48)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["arms=[plain]"], "arms (plain) must hold constraint, and each arm once: write [constraint, plain]"),
        (["arms=[constraint, constraint]"], "must hold constraint, and each arm once"),
        (["arms=[constraint, other]"], "arms.1"),
        (["arms=[constraint]", "plain.search.steps={type: choice, values: [1]}"], "arms does not hold plain"),
        (["arms=[constraint, plain]", "trials=1"], "trials (1) are shared by 2 arms: give at least one to each"),
        (
            ["arms=[constraint, plain]", "plain.search.constraint.alpha={type: uniform, low: 0, high: 1}"],
            "plain.search.constraint.alpha: the plain arm has no constraint: put the range under search",
        ),
        (
            ["arms=[constraint, plain]", "plain.search.batch_size={type: choice, values: [0]}"],
            "plain.search.batch_size reaches 0, which no trial accepts: it must be greater than 0",
        ),
        (
            ["arms=[constraint, plain]", "plain.search.batchsize={type: choice, values: [1]}"],
            "plain.search.batchsize is not a field of a trial: check its spelling",
        ),
        (["arms=[constraint, plain]", "plain.search.batch_size=3"], "plain.search.batch_size (3) is not a range"),
        (
            ["arms=[constraint, plain]", "plain.search.epochs={type: choice, values: [1, 2]}"],
            "plain.search.epochs and trial.steps both say how long",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused(changes: list[str], sentence: str) -> None:
    with pytest.raises(SpecError) as refused:
        load_spec("demo", changes)
    assert sentence in str(refused.value)
