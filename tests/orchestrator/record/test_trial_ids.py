"""Which trial a person means."""

import pytest

from orchestrator.errors import OutputError
from orchestrator.record.trial_ids import whole_id

KNOWN = ["demo-00", "demo-01", "demo-1", "big-01", "demo-1-r2", "demo-base"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [("demo-01", "demo-01"), ("demo-1", "demo-1"), ("00", "demo-00"), ("base", "demo-base"), ("r2", "demo-1-r2")],
)
def test_a_whole_id_or_the_end_of_one_after_a_dash_is_enough(given: str, meant: str) -> None:
    assert whole_id(given, KNOWN, "is not there") == meant


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("01", r"\(01\) could be demo-01, big-01: give the whole id"),
        ("0", r"\(0\) is not there: "),
        ("demo-02", r"is not there: did you mean demo-0"),
        ("???", r"is not there: there are demo-00, demo-01, demo-1, big-01"),
    ],
)
def test_what_is_none_or_several_is_refused_with_what_there_is(given: str, says: str) -> None:
    with pytest.raises(OutputError, match=says):
        whole_id(given, KNOWN, "is not there")


def test_of_many_some_are_named() -> None:
    with pytest.raises(OutputError, match=r"there are a0, a1, a2, a3, a4, a5, a6, a7 and 2 more$"):
        whole_id("???", [f"a{number}" for number in range(10)], "is not there")
    with pytest.raises(OutputError, match=r"there are none$"):
        whole_id("x", [], "is not there")
