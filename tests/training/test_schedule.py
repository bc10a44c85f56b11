import pytest

from training.config import TrialConfig
from training.schedule import alpha_at, learning_rate_at


@pytest.mark.parametrize(
    ("warmup_steps", "expected"),
    [("all", [2.0] * 5), (0, [0.5] * 5), (2, [2.0, 2.0, 0.5, 0.5, 0.5]), (5, [2.0] * 5)],
)
def test_alpha_has_two_hard_stages(warmup_steps, expected):
    found = [alpha_at(step, alpha=2.0, warmup_steps=warmup_steps, alpha_after=0.5) for step in range(5)]
    assert found == expected


def trial(**changes):
    return TrialConfig(steps=100, learning_rate=1.0, lr_warmup_steps=10, **changes)


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
