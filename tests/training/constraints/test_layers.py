import pytest
from pydantic import TypeAdapter, ValidationError

from training.config import Layers, resolve_layers

ADAPTER = TypeAdapter(Layers)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("all", list(range(10))),
        (3, [3]),
        ("3", [3]),
        ([5, 1], [1, 5]),
        ("2-4", [2, 3, 4]),
        ("0-0", [0]),
        ("40%-70%", [4, 5, 6]),
        ("0%-100%", list(range(10))),
        ("99%-100%", [9]),
    ],
)
def test_choices_name_layers(choice, expected):
    assert resolve_layers(ADAPTER.validate_python(choice), 10) == expected


@pytest.mark.parametrize("choice", ["", "some", "4-2", "70%-40%", "0%-140%", -1, [], [1, 1], [-1], True, None, 2.5])
def test_what_no_model_has_is_refused(choice):
    with pytest.raises(ValidationError, match="layers"):
        ADAPTER.validate_python(choice)


@pytest.mark.parametrize("choice", [10, [0, 10], "8-10"])
def test_layers_outside_the_model_are_refused(choice):
    with pytest.raises(ValueError, match="names layer 10, but the model has 10 decoder layers: use indices 0 to 9"):
        resolve_layers(choice, 10)


def test_recommended_layers_are_known_only_to_a_causal_report():
    assert ADAPTER.validate_python("recommended") == "recommended"
    with pytest.raises(ValueError, match="direction's causal report"):
        resolve_layers("recommended", 10)
