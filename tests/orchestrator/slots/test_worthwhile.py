"""Which scaled models are worth generating answers of."""

import math
from typing import Any

from orchestrator.slots.messages import Axis, ScalingJob
from orchestrator.slots.scaling import worthwhile
from training.evaluation.scores import Scores

ODDS, LOSS, ATTACK, ACCURACY = (
    "safety/refusal_log_odds",
    "utility/loss",
    "safety/attack_success_rate",
    "utility/accuracy",
)
AXES = (Axis(ATTACK, "minimize", ODDS, rising=False), Axis(ACCURACY, "maximize", LOSS, rising=False))
KNOWN = tuple(((float(x), 4 - float(x)), (1 - x / 4, x / 4)) for x in range(5))
"""The more a model refuses the less is attack successful; the lower its loss the better is its accuracy."""


def seen(**line: tuple[float, float]) -> dict[float, Scores]:
    """Log-odds and loss by scale in per cent."""
    return {int(name[1:]) / 100: Scores({ODDS: odds, LOSS: loss}) for name, (odds, loss) in line.items()}


def job(**changes: Any) -> ScalingJob:
    return ScalingJob((0.25, 0.5, 0.75), **{"axes": AXES, "known": KNOWN, **changes})


LINE = seen(s25=(3.0, 3.0), s50=(2.0, 2.0), s75=(1.0, 2.5))


def test_without_axes_or_with_little_known_all_are() -> None:
    assert worthwhile(job(axes=()), LINE) == [0.25, 0.5, 0.75]
    assert worthwhile(job(known=KNOWN[:4]), LINE) == [0.25, 0.5, 0.75]


def test_one_that_another_scale_is_foretold_to_beat_is_not() -> None:
    assert worthwhile(job(), LINE) == [0.25, 0.5]


def test_what_is_known_beats_scales() -> None:
    """Foretold are (.25, .25) for a quarter and (.5, .5) for a half."""
    assert worthwhile(job(rivals=((0.2, 0.3),)), LINE) == [0.5]
    assert worthwhile(job(rivals=((0.2, 0.3), (0.4, 0.5))), LINE) == []


def test_one_that_is_foretold_to_be_no_better_than_what_is_known_adds_nothing() -> None:
    assert worthwhile(job(rivals=((0.25, 0.25),)), LINE) == [0.5]


def test_the_trained_model_is_known_too() -> None:
    trained = Scores({ODDS: 2.0, LOSS: 0.5, ATTACK: 0.1, ACCURACY: 0.9})
    assert worthwhile(job(), {**LINE, 1.0: trained}) == []
    assert worthwhile(job(known=KNOWN[:4]), {**LINE, 1.0: trained}) == [], "with it five are known"


def test_what_could_not_be_measured_is_generated() -> None:
    assert worthwhile(job(), {**LINE, 0.75: Scores({ODDS: math.nan, LOSS: 9.0})}) == [0.25, 0.5, 0.75]
    assert worthwhile(job(), {**LINE, 0.75: Scores({ODDS: 2.0})}) == [0.25, 0.5, 0.75]
