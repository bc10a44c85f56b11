"""Where trials of a search part from each other, and searches that share nothing."""

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from sweeps.cost.cost import model_work
from sweeps.schema.forks import MOST, fork_points, forks_on, most_fork_points, with_other_ends
from sweeps.schema.spec import SweepSpec
from training.config import shared_steps

SPEC = """
name: forks
models: [{name: organism, path: organism}]
data:
  {task: {path: organism/general}, safety: {path: organism/safety}, harmful: {path: organism/harmful},
   harmless: {path: organism/harmless}, borderline: {path: organism/borderline}}
trial: {steps: 100, constraint: {alpha: 0.1}}
search: {constraint: {warmup_steps: {type: choice, values: [20, 50, all]}}}
objectives: [{metric: safety/attack_success_rate, goal: minimize}]
trials: 4
"""


def spec(**changes: Any) -> SweepSpec:
    return SweepSpec.model_validate({**yaml.safe_load(SPEC), **changes})


def points(made: SweepSpec, **params: Any) -> tuple[int, ...]:
    given = {f"constraint.{name}": value for name, value in params.items()}
    return fork_points(made.trial_config(given), with_other_ends(made, "constraint", 4, given))


def searched(**ranges: Any) -> dict[str, Any]:
    return {"constraint": ranges}


WARMUPS = {"type": "choice", "values": [20, 50, "all"]}
AFTER = {"type": "loguniform", "low": 0.001, "high": 0.1}


def test_a_trial_is_kept_where_other_ends_part_from_it() -> None:
    made = spec()
    assert points(made, warmup_steps="all") == (20, 50)
    assert points(made, warmup_steps=50) == (20, 50)  # it parts from an endless one there
    assert points(made, warmup_steps=20) == (20,)
    after = spec(search=searched(warmup_steps=WARMUPS, alpha_after=AFTER))
    assert points(after, warmup_steps=20, alpha_after=0.01) == (20,)
    assert points(after, warmup_steps="all") == (20, 50)
    alone = spec(trial={"steps": 100, "constraint": {"warmup_steps": 30}}, search=searched(alpha_after=AFTER))
    assert points(alone, alpha_after=0.01) == (30,)


def test_points_that_spare_little_and_too_many_are_left_out() -> None:
    early = {"type": "choice", "values": [5, 50, "all"]}
    assert points(spec(search=searched(warmup_steps=early)), warmup_steps="all") == (50,)
    many = spec(search=searched(warmup_steps={"type": "int", "low": 10, "high": 90}))
    found = points(many, warmup_steps=90)
    assert 0 < len(found) <= MOST
    assert found[0] == 10


def test_a_longer_training_parts_after_a_report_of_the_shorter_one() -> None:
    search = {"steps": {"type": "choice", "values": [40, 80, 100]}}
    trial = {"steps": 100, "lr_schedule": "constant"}
    made = spec(trial={**trial, "log_every": 8}, search=search)
    ends = list(with_other_ends(made, "constraint", 4, {"steps": 40}))
    assert [shared_steps(ends[0], one) for one in ends] == [40, 40, 40]
    assert fork_points(ends[0], ends) == (40,)
    odd = spec(trial={**trial, "log_every": 16}, search=search)
    ends = list(with_other_ends(odd, "constraint", 4, {"steps": 40}))
    assert fork_points(ends[0], ends) == ()  # its last report is of fewer steps than the longer one's


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"search": searched(alpha=AFTER)}, r"none of steps, .* is searched.*search one of them, or leave forks out"),
        (
            {"trial": {"steps": 100, "constraint": {"restart": True}}},
            r"warmup_steps train otherwise.*trial\.constraint\.restart draws the samples of each stage anew",
        ),
        (
            {
                "trial": {
                    "steps": 100,
                    "safety_share": 0.1,
                    "lr_schedule": "constant",
                    "constraint": {"warmup": "extra"},
                },
                "search": searched(warmup_steps={"type": "choice", "values": [20, 50]}),
            },
            r"their samples or learning rates depend on how long they are; leave forks out",
        ),
        (
            {"search": {"steps": {"type": "choice", "values": [80, 100]}}},
            r"trials that differ in steps train otherwise",
        ),
    ],
)
def test_forks_of_trials_that_share_nothing_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=rf"searcher\.forks \(true\) has nothing to share: .*{says}"):
        spec(searcher={"forks": True}, **changes)
    assert most_fork_points(spec(**changes)) == 0


def test_adapters_share_by_themselves_and_whole_models_where_they_are_asked_to() -> None:
    full = {"steps": 100, "tuning": {"type": "full"}}
    assert forks_on(spec(), spec().trial)
    assert not forks_on(spec(trial=full), spec(trial=full).trial)
    assert most_fork_points(spec(trial=full)) == 0
    assert most_fork_points(spec(trial=full, searcher={"forks": True})) == 2
    assert most_fork_points(spec(searcher={"forks": False})) == 0


def test_a_plan_knows_what_fork_points_take() -> None:
    work = model_work(spec())
    assert work.fork_points == 2
    assert work.forks_held(10.0) == 4 * 2 * 10.0


def test_of_lengths_in_epochs_nothing_is_said_before_they_are_counted() -> None:
    search = searched(warmup_epochs={"type": "choice", "values": [0.5, 1.0]})
    trial = {"epochs": 2.0, "batch_size": 10, "constraint": {"alpha": 0.1}}
    made = spec(trial=trial, search=search, searcher={"forks": True})
    assert most_fork_points(made.with_task_samples(400)) == 1


def test_where_no_fork_can_come_nothing_is_kept() -> None:
    """Two draws of a real number are never alike, and forks are proposed to an arm of many trials alone."""
    search = searched(warmup_steps=WARMUPS, alpha={"type": "loguniform", "low": 0.01, "high": 1.0})
    assert most_fork_points(spec(search=search, trials=12)) == 0
    assert most_fork_points(spec(search=search, trials=13)) == 2
    assert most_fork_points(spec(search=search, trials=13, arms=["constraint", "plain"])) == 0
    assert most_fork_points(spec(search=search, trials=13, searcher={"sampler": "random"})) == 0
    few = searched(warmup_steps=WARMUPS, alpha={"type": "choice", "values": [0.1, 0.2]})
    assert most_fork_points(spec(search=few, searcher={"sampler": "random"})) == 2
