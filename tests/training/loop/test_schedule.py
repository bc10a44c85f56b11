import pytest
import torch
from tiny import random_direction, random_samples, tiny_llama
from trajectories import trajectory
from trajectories import trial as short_trial

from training.config import TrialConfig
from training.config.schedule import alpha_at, constraint_strength, learning_rate_at, restarts_at
from training.data.batch_plan import BatchPlan
from training.loop.train import TrainingSet, plan_of
from training.models.residual import capture


@pytest.mark.parametrize(
    ("warmup_steps", "expected"),
    [("all", [2.0] * 5), (0, [0.5] * 5), (2, [2.0, 2.0, 0.5, 0.5, 0.5]), (5, [2.0] * 5)],
)
def test_alpha_has_two_hard_stages(warmup_steps, expected):
    found = [alpha_at(step, alpha=2.0, warmup_steps=warmup_steps, alpha_after=0.5) for step in range(5)]
    assert found == expected


def test_alpha_falls_in_a_line_over_the_warmup():
    line = {"alpha": 2.0, "alpha_after": 0.5, "decay": "linear"}
    assert [alpha_at(step, warmup_steps=3, **line) for step in range(5)] == pytest.approx([2.0, 1.5, 1.0, 0.5, 0.5])
    whole = trial(steps=4, constraint={**line, "warmup_steps": "all"})
    assert [constraint_strength(step, whole) for step in range(4)] == pytest.approx([2.0, 1.625, 1.25, 0.875])


def test_what_has_no_penalty_has_no_strength():
    assert constraint_strength(0, trial(constraint={"type": "freeze_layers", "layers": 1})) == 0


def trial(**changes):
    return TrialConfig(**{"steps": 100, "learning_rate": 1.0, "lr_warmup_steps": 10, **changes})


def test_learning_rate_rises_linearly_to_its_peak():
    rates = [learning_rate_at(step, trial()) for step in range(10)]
    assert rates == pytest.approx([(step + 1) / 10 for step in range(10)])


@pytest.mark.parametrize(
    ("schedule", "middle", "end"), [("cosine", 0.55, 0.1), ("linear", 0.55, 0.1), ("constant", 1, 1)]
)
def test_learning_rate_decays_to_a_tenth_of_its_peak(schedule, middle, end):
    config = trial(lr_schedule=schedule)
    assert learning_rate_at(10, config) == pytest.approx(1)
    assert learning_rate_at(55, config) == pytest.approx(middle)
    assert learning_rate_at(100, config) == pytest.approx(end)


def test_no_rise_starts_at_the_peak():
    assert learning_rate_at(0, TrialConfig(learning_rate=3.0, lr_warmup_steps=0)) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("constraint", "total"),
    [
        ({"warmup_steps": 40}, 100),
        ({"warmup_steps": 40, "warmup": "extra"}, 140),
        ({"warmup_steps": 400, "warmup": "extra"}, 500),
        ({"warmup_steps": "all", "warmup": "extra"}, 100),
        ({"type": "kl_reference", "warmup_steps": 40, "warmup": "extra"}, 140),
        ({"type": "freeze_layers", "layers": 1}, 100),
    ],
)
def test_an_extra_warmup_comes_before_the_steps(constraint, total):
    config = trial(constraint=constraint)
    assert config.total_steps == total
    assert learning_rate_at(total, config) == pytest.approx(0.1)


def test_a_warmup_longer_than_the_training_is_refused_only_within_it():
    with pytest.raises(ValueError, match=r"constraint\.warmup_steps \(400\) is longer than steps \(100\)"):
        trial(constraint={"warmup_steps": 400})


def test_a_restart_gives_each_stage_a_learning_rate_schedule_of_its_own():
    for warmup, stages in (("within", [40, 60]), ("extra", [40, 100])):
        config = trial(constraint={"warmup_steps": 40, "warmup": warmup, "restart": True})
        assert restarts_at(config) == 40
        expected = [learning_rate_at(step, trial(steps=steps)) for steps in stages for step in range(steps)]
        assert [learning_rate_at(step, config) for step in range(config.total_steps)] == pytest.approx(expected)


@pytest.mark.parametrize(
    "constraint",
    [
        {"warmup_steps": 40},
        {"warmup_steps": 100, "restart": True},
        {"warmup_steps": 0, "restart": True},
        {"restart": True},
    ],
)
def test_without_a_boundary_there_is_no_restart(constraint):
    assert restarts_at(trial(constraint=constraint)) is None


def _plain_batches(samples, steps):
    """The samples of every step of an unconstrained training of so many steps."""
    config = short_trial(steps=steps)
    return BatchPlan.make(
        task=40,
        safety=20,
        share=config.safety_share,
        lengths=samples.lengths,
        steps=steps,
        batch_size=config.batch_size,
        seed=config.seed,
    ).steps


@pytest.mark.parametrize(("warmup", "rest"), [("extra", 6), ("within", 4)])
def test_after_a_restart_a_trial_sees_the_batches_of_a_training_of_its_own(warmup, rest):
    samples = random_samples(60)
    block = {"alpha": 1.0, "warmup_steps": 2, "warmup": warmup}
    restarted, going_on = (
        plan_of(short_trial(constraint={**block, "restart": restart}), TrainingSet(samples, 40, None)).steps
        for restart in (True, False)
    )
    assert restarted[2:].tolist() == _plain_batches(samples, rest).tolist()
    assert going_on[2:].tolist() != restarted[2:].tolist()


def _in_two_stages(config, samples, direction):
    """The losses of two trainings one after another, each with an optimizer of its own."""
    model, initial = tiny_llama(), tiny_llama()
    held, losses = config.constraint, []
    warmup, rest = (
        _plain_batches(samples, steps) for steps in (held.warmup_steps, config.total_steps - held.warmup_steps)
    )
    batches = [*warmup, *rest]
    for step in range(config.total_steps):
        if step in (0, held.warmup_steps):
            optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
        batch = samples.collate(batches[step])
        with capture(model, [0, 1, 2]) as states, capture(initial, [0, 1, 2]) as before:
            logits = model(input_ids=batch.input_ids).logits.flatten(0, 1)
            with torch.no_grad():
                initial(input_ids=batch.input_ids)
            moved = [(states[i] - before[i]).flatten(0, 1)[batch.response] @ direction.unit[i] for i in range(3)]
        penalty = sum(one.abs().mean() for one in moved)
        loss = torch.nn.functional.cross_entropy(logits[batch.predicting], batch.targets)
        optimizer.zero_grad()
        (loss + (held.alpha if step < held.warmup_steps else held.alpha_after) * penalty).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clipping)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, config)
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.usefixtures("process")
@pytest.mark.parametrize(("stage", "warmup"), [(0, "within"), (1, "extra"), (2, "within"), (3, "extra")])
def test_a_restart_forgets_the_moments_on_every_zero_stage(stage, warmup):
    changes = {
        "tuning": {"type": "full"},
        "learning_rate": 3e-3,
        "lr_warmup_steps": 2,
        "deepspeed": {"zero_stage": stage},
        "constraint": {"alpha": 0.3, "warmup_steps": 3, "alpha_after": 0.1, "warmup": warmup, "restart": True},
    }
    expected = _in_two_stages(short_trial(**changes), random_samples(60), random_direction())
    found = trajectory(changes)["loss"]
    assert len(found) == (6 if warmup == "within" else 9)
    assert found == pytest.approx(expected, rel=1e-4)
    changes["constraint"]["restart"] = False
    assert trajectory(changes)["loss"][-1] != pytest.approx(expected[-1], rel=1e-4)
