import pytest

from sweeps.space import FloatDimension, IntDimension, SearchSpace, parse_ranges, set_path

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
