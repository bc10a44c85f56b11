import json
import random
from typing import Any

import pytest

from sweeps.space.layer_ranges import carry_over
from sweeps.space.space import CategoricalDimension, FloatDimension, IntDimension, SearchSpace, parse_ranges, set_path

LAYERS = "constraint.layers"


def space(depth: int = 4, **ranges: object) -> SearchSpace:
    return SearchSpace(parse_ranges(ranges), depth)


def test_ranges_are_found_at_any_depth() -> None:
    ranges = parse_ranges(
        {
            "constraint": {"alpha": {"type": "loguniform", "low": 0.1, "high": 1}},
            "steps": {"type": "int", "low": 1, "high": 9},
        }
    )
    assert list(ranges) == ["constraint.alpha", "steps"]


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ({"steps": 3}, ["search.steps", "3", "trial.steps"]),
        ({"steps": {"type": "int", "low": 5, "high": 5}}, ["search.steps", "5", "below"]),
        ({"alpha": {"type": "loguniform", "low": 0.0, "high": 1.0}}, ["search.alpha", "0", "log scale"]),
        ({"alpha": {"type": "choice", "values": []}}, ["search.alpha.values"]),
        ({"alpha": {"type": "gauss"}}, ["search.alpha", "gauss"]),
    ],
)
def test_a_wrong_range_is_refused_by_name(search: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ValueError, match="search") as refusal:
        parse_ranges(search)
    assert all(word in str(refusal.value) for word in words)


def test_dimensions_keep_bounds_and_scale() -> None:
    dimensions = space(
        alpha={"type": "loguniform", "low": 0.01, "high": 1.0}, steps={"type": "int", "low": 2, "high": 8, "step": 3}
    ).dimensions()
    assert dimensions == {"alpha": FloatDimension(0.01, 1.0, log=True), "steps": IntDimension(2, 8, 3)}


def test_a_choice_gives_back_the_very_value() -> None:
    found = space(warmup={"type": "choice", "values": [20, "all", [1, 3], None]})
    choices = found.dimensions()["warmup"].choices  # type: ignore[union-attr]
    assert [found.decode({"warmup": choice})["warmup"] for choice in choices] == [20, "all", [1, 3], None]


def test_one_layer_is_an_ordered_number_within_the_model() -> None:
    found = space(depth=6, layers={"type": "layers", "choose": "one"})
    assert found.dimensions() == {"layers": IntDimension(0, 5)}
    assert found.decode({"layers": 5}) == {"layers": 5}


def test_a_band_is_written_in_order() -> None:
    found = space(layers={"type": "layers", "choose": "band"})
    assert found.decode({"layers.first": 3, "layers.last": 1}) == {"layers": "1-3"}


def test_a_subset_is_never_empty() -> None:
    found = space(depth=3, layers={"type": "layers", "choose": "subset"})
    none_switched_on = {"layers.always": 1, "layers.0": "false", "layers.1": "false", "layers.2": "false"}
    assert set(found.dimensions()) == set(none_switched_on)
    assert found.decode(none_switched_on) == {"layers": [1]}
    assert found.decode({**none_switched_on, "layers.2": "true"}) == {"layers": [1, 2]}


def test_all_layers_are_not_searched() -> None:
    found = space(layers={"type": "layers", "choose": "all"})
    assert found.dimensions() == {}
    assert found.decode({}) == {"layers": "all"}


def test_set_path_changes_a_copy() -> None:
    tree = {"a": {"b": 1, "c": 2}}
    assert set_path(tree, "a.b", 9) == {"a": {"b": 9, "c": 2}}
    assert set_path(tree, "x.y", 1) == {"a": {"b": 1, "c": 2}, "x": {"y": 1}}
    assert tree == {"a": {"b": 1, "c": 2}}


WARMUP = {"type": "choice", "values": [4, 8, "all"]}
ALPHA = {"type": "loguniform", "low": 0.01, "high": 1.0}


def warmed(**constraint: object) -> SearchSpace:
    return SearchSpace(parse_ranges({"constraint": constraint}), 4, {"constraint": {"decay": "step"}, "steps": 9})


def active(found: SearchSpace, **values: object) -> set[str]:
    """Last parts of the paths that are drawn when the others have ``values``."""
    drawn = {"constraint.alpha_after": 0.1, "constraint.warmup_steps": json.dumps(values.get("warmup_steps"))}
    return {path.rpartition(".")[2] for path in found.draw(lambda name, dimension: drawn.get(name, dimension.at(0.5)))}


def test_alpha_after_is_drawn_only_when_a_warm_up_ends() -> None:
    found = warmed(alpha_after=ALPHA, warmup_steps=WARMUP)
    assert active(found, warmup_steps=8) == {"alpha_after", "warmup_steps"}
    assert active(found, warmup_steps="all") == {"warmup_steps"}


def test_with_linear_decay_alpha_after_always_counts() -> None:
    ranges = parse_ranges({"constraint": {"alpha_after": ALPHA, "warmup_steps": WARMUP}})
    linear = SearchSpace(ranges, 4, {"constraint": {"decay": "linear"}})
    assert active(linear, warmup_steps="all") == {"alpha_after", "warmup_steps"}


def test_fields_that_a_drawn_type_lacks_are_not_drawn() -> None:
    types = {"type": "choice", "values": ["procon", "l2_init"]}
    found = SearchSpace(
        parse_ranges({"constraint": {"layers": {"type": "layers"}, "alpha": ALPHA, "type": types}}), 4, {}
    )
    drawn = {"constraint.type": '"l2_init"', "constraint.alpha": 0.1}
    assert found.decode(drawn) == {"constraint.alpha": 0.1, "constraint.type": "l2_init"}
    assert "constraint.layers" in found.decode({**drawn, "constraint.type": '"procon"', "constraint.layers": 2})


@pytest.mark.parametrize(
    ("when", "drawn_at"),
    [
        ({"constraint.warmup_steps": 8}, [8]),
        ({"constraint.warmup_steps": [4, 8]}, [4, 8]),
        ({"constraint.warmup_steps": {"not": 8}}, [4, "all"]),
        ({"constraint.warmup_steps": {"not": [8, "all"]}}, [4]),
        ({"constraint.warmup_steps": {"not": "all"}, "steps": 9}, [4, 8]),
    ],
)
def test_when_says_under_which_values_a_field_is_drawn(when: dict[str, object], drawn_at: list[object]) -> None:
    found = warmed(alpha={**ALPHA, "when": when}, warmup_steps=WARMUP)
    found.check()
    assert [value for value in (4, 8, "all") if "alpha" in active(found, warmup_steps=value)] == drawn_at


def test_a_field_that_looks_at_one_that_is_not_drawn_is_not_drawn() -> None:
    found = warmed(
        beta={**ALPHA, "when": {"constraint.alpha_after": {"not": 7}}}, alpha_after=ALPHA, warmup_steps=WARMUP
    )
    assert active(found, warmup_steps="all") == {"warmup_steps"}
    assert active(found, warmup_steps=4) == {"beta", "alpha_after", "warmup_steps"}


@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        ({"alpha": {**ALPHA, "when": {"constraint.warmup": 4}}}, ["search.constraint.alpha.when", "spelling"]),
        (
            {"alpha": {**ALPHA, "when": {"constraint.warmup_steps": 5}}, "warmup_steps": WARMUP},
            ["search.constraint.alpha is never drawn", "4 or 8 or all", "constraint.warmup_steps is 5"],
        ),
        ({"alpha": {**ALPHA, "when": {"steps": {"not": 9}}}}, ["search.constraint.alpha", "steps is 9", "is not 9"]),
        (
            {
                "alpha": {**ALPHA, "when": {"constraint.warmup_steps": 4}},
                "warmup_steps": {**WARMUP, "when": {"constraint.alpha": 1.0}},
            },
            ["search.constraint.alpha", "search.constraint.warmup_steps", "wait for each other"],
        ),
    ],
)
def test_a_condition_that_makes_no_sense_is_refused(constraint: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ValueError, match="search") as refusal:
        warmed(**constraint).check()
    assert all(word in str(refusal.value) for word in words), str(refusal.value)


@pytest.mark.parametrize(
    ("written", "words"),
    [("not all", r"write \{not: all\}"), ({"is": 4}, r"a value, a list of values or \{not: value\}")],
)
def test_a_condition_that_cannot_be_read_is_refused(written: object, words: str) -> None:
    with pytest.raises(ValueError, match=r"search.alpha.when.*" + words):
        parse_ranges({"alpha": {**ALPHA, "when": {"steps": written}}})


EVERYTHING = {
    "constraint": {"alpha_after": ALPHA, "warmup_steps": WARMUP, "alpha": {**ALPHA, "type": "uniform"}},
    "steps": {"type": "int", "low": 3, "high": 10, "step": 3},
    "one": {"type": "layers", "choose": "one"},
    "band": {"type": "layers", "choose": "band"},
    "subset": {"type": "layers", "choose": "subset"},
    "every": {"type": "layers", "choose": "all"},
}


def test_values_can_be_turned_back_into_what_was_drawn() -> None:
    found = SearchSpace(parse_ranges(EVERYTHING), 5)
    generator = random.Random(0)
    for _ in range(50):
        params = found.at([generator.random() for _ in found.dimensions()])
        assert found.decode(found.encode(params)) == params
        dimensions = found.dimensions()
        for name, value in found.encode(params).items():
            dimension = dimensions[name]
            if isinstance(dimension, CategoricalDimension):
                assert value in dimension.choices
            elif isinstance(dimension, IntDimension):
                assert value in dimension.values
            else:
                assert isinstance(value, float)
                assert dimension.low <= value <= dimension.high


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("constraint.alpha", 1.5),
        ("constraint.alpha", True),
        ("constraint.alpha", None),
        ("constraint.warmup_steps", 5),
        ("steps", 4),
        ("steps", 12),
        ("one", [1, 2]),
        ("one", 5),
        ("band", [1, 3]),
        ("every", 1),
    ],
)
def test_values_outside_the_space_cannot(path: str, value: object) -> None:
    found = SearchSpace(parse_ranges(EVERYTHING), 5)
    params = found.at([0.0 for _ in found.dimensions()])
    found.encode(params)
    with pytest.raises(ValueError, match=r"outside|none of|not|layer"):
        found.encode({**params, path: value})


def test_a_point_of_the_cube_falls_on_the_scale_of_its_range() -> None:
    found = space(a=ALPHA, b={"type": "int", "low": 2, "high": 8, "step": 3}, c={"type": "choice", "values": [1, 2]})
    assert found.at([0.5, 0.5, 0.5]) == {"a": pytest.approx(0.1), "b": 5, "c": 2}
    assert found.at([0.0, 0.0, 0.0]) == {"a": 0.01, "b": 2, "c": 1}
    assert found.at([1.0, 1.0, 1.0]) == {"a": 1.0, "b": 8, "c": 2}


def test_a_grid_multiplies_only_what_is_drawn() -> None:
    found = warmed(
        alpha_after={**ALPHA, "grid_points": 3}, warmup_steps=WARMUP, layers={"type": "layers", "choose": "band"}
    )
    found.check_grid()
    points = list(found.grid())
    assert len(points) == 10 * (2 * 3 + 1)
    assert len({repr(point) for point in points}) == len(points)
    after = {p["constraint.alpha_after"] for p in points if "constraint.alpha_after" in p}
    assert sorted(after) == [0.01, pytest.approx(0.1), 1.0]


@pytest.mark.parametrize(
    ("layers", "depth", "other", "moved"),
    [
        (0, 4, 8, 1),
        (3, 4, 8, 7),
        (7, 8, 4, 3),
        (0, 8, 4, 0),
        (5, 12, 12, 5),
        ("all", 4, 8, "all"),
        ("1-2", 4, 8, "2-5"),
        ("2-5", 8, 4, "1-2"),
        ("0-11", 12, 7, "0-6"),
        ([0, 2], 4, 8, [1, 5]),
        ([0, 2, 3], 8, 2, 0),
        ("25%-75%", 4, 8, "2-5"),
    ],
)
def test_layers_carry_over_at_the_same_fraction_of_depth(layers: Any, depth: int, other: int, moved: Any) -> None:
    assert carry_over(layers, depth, other) == moved
