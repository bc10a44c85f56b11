"""The grammar of rules by which a trial is chosen, and where its errors point."""

import numpy as np
import pytest

from sweeps.errors import RuleError
from sweeps.goals.choice_rule import Aim, Bound, ChoiceRule, Sum, resolve

METRICS = [
    "safety/attack_success_rate",
    "safety/attack_success_rate/jbb",
    "safety/over_refusal",
    "safety/first_sentence/over_refusal",
    "utility/accuracy",
    "utility/accuracy/two words",
    "utility/loss",
    "style/loss",
    "safety/judged/llama-guard",
]
REFERENCES = ["base", "ift", "ift_safety"]
ASR, ACCURACY, OVER_REFUSAL = "safety/attack_success_rate", "utility/accuracy", "safety/over_refusal"


def parse(text: str) -> ChoiceRule:
    return ChoiceRule.parse(text, METRICS, REFERENCES, [Aim(ASR, "minimize")])


def test_the_example_of_the_docs() -> None:
    rule = parse("over_refusal <= .05, accuracy >= ift - .01, min attack_success_rate")
    assert rule == ChoiceRule(
        (Bound(OVER_REFUSAL, "<=", Sum(0.05)), Bound(ACCURACY, ">=", Sum(-0.01, ((1, "ift"),)))),
        (Aim(ASR, "minimize"),),
    )
    assert rule.metrics == (ASR, OVER_REFUSAL, ACCURACY)
    assert rule.references == ("ift",)


@pytest.mark.parametrize(
    "text",
    [
        "over_refusal <= .05, accuracy >= ift - .01, min attack_success_rate",
        "safety/over_refusal < 1e-1, max accuracy, min utility/loss",
        "utility/loss <= -ift + base + 3.5, min jbb",
        'min "utility/accuracy/two words"',
        "judged/llama-guard <= base",
    ],
)
def test_a_rule_is_read_again_as_it_is_written(text: str) -> None:
    assert parse(str(parse(text))) == parse(text)


def test_spaces_percent_and_mathematical_signs_are_free() -> None:
    assert parse("over_refusal≤5%,accuracy>=ift-1 %") == parse("over_refusal <= .05, accuracy >= ift - .01")


def test_a_rule_without_an_aim_takes_the_one_given() -> None:
    assert parse("over_refusal <= .05").aims == (Aim(ASR, "minimize"),)


def test_a_hyphen_before_a_letter_belongs_to_a_name_and_else_subtracts() -> None:
    assert parse("min llama-guard").aims == (Aim("safety/judged/llama-guard", "minimize"),)
    assert parse("accuracy >= ift-.01") == parse("accuracy >= ift - .01")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("over_refusal", [OVER_REFUSAL]),  # not first_sentence/over_refusal, which has a part more
        ("first_sentence/over_refusal", ["safety/first_sentence/over_refusal"]),
        ("jbb", ["safety/attack_success_rate/jbb"]),
        ("loss", ["style/loss", "utility/loss"]),
        ("refusal", []),
    ],
)
def test_short_names_mean_the_metric_with_the_fewest_parts(name: str, found: list[str]) -> None:
    assert resolve(name, METRICS) == found


@pytest.mark.parametrize(
    ("text", "character", "says"),
    [
        ("", 1, "a metric should stand here"),
        ("min", 4, "a metric should stand here"),
        ("acuracy >= .5", 1, "did you mean accuracy?"),
        ("over_refusal <= .05, min loss", 26, "style/loss or utility/loss"),
        ("over_refusal => .05", 14, "'=' has no place"),
        ("over_refusal .05", 14, "one of <= >= < >"),
        ("over_refusal <= ,", 17, "a number or a reference"),
        ("accuracy >= iff - .01", 13, "did you mean ift?"),
        ("accuracy >= ift - ", 18, "a number or a reference"),
        ("accuracy >= .8 min loss", 16, "a comma or the end"),
        ("accuracy >= .8,", 16, "a metric should stand here"),
        ("accuracy >= .8; min loss", 15, "';' has no place"),
    ],
)
def test_errors_point_at_the_character(text: str, character: int, says: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse(text)
    message, shown, caret = str(caught.value).split("\n")
    assert says in message
    assert f"character {character}:" in message
    assert shown == f"  {text}"
    assert caret.index("^") == character + 1  # two blanks before


def test_bounds_compare_values_draws_and_references_alike() -> None:
    bound = parse("accuracy >= ift - .01").bounds[0]
    assert bound.kept_by(0.85, {"ift": 0.86})  # 0.86 - 0.01 is 0.85, whatever floating point says
    assert not bound.kept_by(0.84, {"ift": 0.86})
    assert bound.kept_by(np.array([0.8, 0.9, np.nan]), {"ift": np.array([0.8, 0.95, 0.1])}).tolist() == [
        True,
        False,
        False,
    ]
    assert float(bound.slack(0.9, {"ift": 0.86})) == pytest.approx(0.05)
    strict = parse("over_refusal < .05").bounds[0]
    assert not strict.kept_by(0.05, {})
    assert strict.kept_by(0.04, {})
