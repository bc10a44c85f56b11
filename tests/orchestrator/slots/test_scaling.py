"""Which scaled models are worth generating answers of."""

from typing import Any

from orchestrator.slots.messages import ScalingJob
from orchestrator.slots.scaling import worthwhile
from training.evaluation.scores import Scores

ODDS, LOSS = "safety/refusal_log_odds", "utility/loss"
GOALS = ((ODDS, "maximize"), (LOSS, "minimize"))
LINE = {0.25: (4.0, 2.0), 0.5: (3.0, 1.0), 0.75: (2.0, 1.5), 1.0: (1.0, 0.5)}


def seen(error: float = 0.0) -> dict[float, Scores]:
    """A line on which 0.75 is worse than 0.5 in both."""
    return {
        scale: Scores({ODDS: odds, LOSS: loss}, errors={ODDS: error, LOSS: error})
        for scale, (odds, loss) in LINE.items()
    }


def job(**changes: Any) -> ScalingJob:
    return ScalingJob((0.25, 0.5, 0.75), **{"goals": GOALS, **changes})


def test_without_metrics_to_go_by_all_are() -> None:
    assert worthwhile(job(goals=()), seen()) == [0.25, 0.5, 0.75]


def test_one_that_another_scale_beats_is_not() -> None:
    assert worthwhile(job(), seen()) == [0.25, 0.5]


def test_the_trained_model_beats_scales_too() -> None:
    better = {**seen(), 1.0: Scores({ODDS: 5.0, LOSS: 0.5})}
    assert worthwhile(job(), better) == []


def test_another_model_that_is_known_beats_scales() -> None:
    assert worthwhile(job(rivals=((4.5, 1.8),)), seen()) == [0.5]


def test_within_the_interval_the_benefit_is_given() -> None:
    assert worthwhile(job(confidence=0.95), seen(error=1.0)) == [0.25, 0.5, 0.75]
    assert worthwhile(job(confidence=0.0), seen(error=1.0)) == [0.25, 0.5]


def test_what_could_not_be_measured_is_generated() -> None:
    assert worthwhile(job(), {**seen(), 0.75: Scores({ODDS: 2.0})}) == [0.25, 0.5, 0.75]
