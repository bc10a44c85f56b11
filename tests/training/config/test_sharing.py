"""How far two trainings are the same, held against the schedules and batches that the loop takes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import random_samples

from training.config import TrialConfig, shared_steps
from training.config.schedule import constraint_strength, learning_rate_at, restarts_at
from training.loop.train import TrainingSet, plan_of

SAMPLES = TrainingSet(random_samples(60), 40, None)
FIELDS = {
    "steps": st.sampled_from([12, 20, 27]),
    "learning_rate": st.sampled_from([1e-3, 2e-3]),
    "lr_schedule": st.sampled_from(["cosine", "linear", "constant"]),
    "lr_warmup_steps": st.sampled_from([0, 5]),
    "safety_share": st.sampled_from([0.0, 0.25]),
    "seed": st.sampled_from([0, 1]),
}
CONSTRAINT = {
    "alpha": st.sampled_from([0.0, 0.1, 0.2]),
    "warmup_steps": st.sampled_from([0, 4, 10, "all"]),
    "alpha_after": st.sampled_from([0.0, 0.1]),
    "decay": st.sampled_from(["step", "linear"]),
    "warmup": st.sampled_from(["within", "extra"]),
    "restart": st.booleans(),
}


@st.composite
def pairs(draw):
    """Two trials that differ in one to three fields."""
    one = {name: draw(values) for name, values in FIELDS.items()}
    held = {name: draw(values) for name, values in CONSTRAINT.items()}
    changed = draw(st.sets(st.sampled_from([*FIELDS, *CONSTRAINT]), min_size=1, max_size=3))
    other = {name: draw(values) if name in changed else one[name] for name, values in FIELDS.items()}
    held_other = {name: draw(values) if name in changed else held[name] for name, values in CONSTRAINT.items()}
    trials = [{**one, "constraint": held}, {**other, "constraint": held_other}]
    return [TrialConfig(**{"batch_size": 4, **settings}) for settings in trials]


@settings(max_examples=100, deadline=None)
@given(pairs())
def test_all_that_a_step_depends_on_is_the_same_below_and_something_is_not_behind(pair):
    one, other = pair
    shared = shared_steps(one, other)
    assert shared == shared_steps(other, one)
    assert shared <= min(one.total_steps, other.total_steps)
    plans = [plan_of(trial, SAMPLES).steps for trial in pair]
    assert plans[0][:shared].tolist() == plans[1][:shared].tolist()
    for step in range(shared):
        assert constraint_strength(step, one) == constraint_strength(step, other)
        assert learning_rate_at(step, one) == learning_rate_at(step, other)
        assert (restarts_at(one) == step) == (restarts_at(other) == step)
    if shared:
        assert one.seed == other.seed
        assert one.safety_share == other.safety_share
        assert one.constraint.active == other.constraint.active
    if one == other:
        assert shared == one.total_steps


def trial(**changes):
    return TrialConfig(**{"steps": 100, "constraint": held(), **changes})


def held(**changes):
    return {"alpha": 0.1, **changes}


CONSTANT = {"lr_schedule": "constant"}


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ({}, {"constraint": held(warmup_steps=20)}, 20),
        ({"constraint": held(warmup_steps=50)}, {"constraint": held(warmup_steps=20)}, 20),
        ({"constraint": held(warmup_steps=20)}, {"constraint": held(warmup_steps=20, alpha_after=0.01)}, 20),
        ({}, {"constraint": held(warmup_steps=20, alpha_after=0.1)}, 100),
        ({}, {"constraint": held(alpha=0.2)}, 0),
        ({}, {"constraint": held(layers=2)}, 0),
        ({}, {"constraint": held(decay="linear")}, 1),
        ({"constraint": held(type="kl_reference")}, {"constraint": held(type="l2_init")}, 0),
        (CONSTANT, {**CONSTANT, "steps": 60}, 56),
        ({**CONSTANT, "safety_share": 0.1}, {**CONSTANT, "safety_share": 0.1, "steps": 60}, 0),
        ({}, {"steps": 60}, 6),
        (CONSTANT, {**CONSTANT, "constraint": held(warmup_steps=20, restart=True)}, 16),
        ({}, {"constraint": held(warmup_steps=20), "weight_decay": 0.1}, 0),
        ({}, {"constraint": held(warmup_steps=20), "ema_decay": 0.9}, 0),
        ({}, {"constraint": held(warmup_steps=20), "deepspeed": {"zero_stage": 0}}, 0),
        ({}, {"constraint": held(warmup_steps=20), "packing": "auto"}, 0),
        (
            {"constraint": {"type": "freeze_layers", "layers": 1}},
            {"constraint": {"type": "freeze_layers", "layers": 2}},
            0,
        ),
    ],
)
def test_what_parts_two_trainings(one, other, shared):
    assert shared_steps(trial(**one), trial(**other)) == shared


def test_a_strength_that_is_measured_for_each_trial_shares_nothing():
    matched = held(type="random_direction", layers=1)
    pair = [trial(constraint={**matched, "warmup_steps": steps}) for steps in (20, 50)]
    assert shared_steps(*pair) == 0
    assert shared_steps(*(trial(constraint={**one.constraint.model_dump(), "strength": "alpha"}) for one in pair)) == 20
