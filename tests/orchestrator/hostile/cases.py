"""How many cases a property is tried on, and what hostile input is made of."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def counts(few: int, many: int) -> pytest.MarkDecorator:
    """Parametrizes ``count``: ``few`` cases, the same every time, and ``many`` others where slow tests run."""
    return pytest.mark.parametrize("count", [few, pytest.param(many, marks=pytest.mark.slow)])


def holds(count: int, check: Callable[..., None], **drawn: st.SearchStrategy[Any]) -> None:
    """Call ``check`` on ``count`` cases; the first that fails is shown in its smallest form."""
    run = settings(
        max_examples=count,
        derandomize=count < 1000,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )(given(**drawn)(check))
    run()


SIGNS = "\x00\x1b\x9b\u202e\ud800\n\r\t [/]{}()<>&'\"\\%$#@!*?|;:,=-+_.~`^éß漢😀\u200b\ufeff"
TEXTS = st.one_of(
    st.text(max_size=20),
    st.text(alphabet=SIGNS, max_size=12),
    st.sampled_from(
        [
            "",
            "..",
            "../../etc/passwd",
            "/",
            "~",
            "nan",
            "inf",
            "1e999",
            "9" * 400,
            "[/x]",
            "organism",
            "base",
            "a" * 5000,
        ]
    ),
)
NUMBERS = st.one_of(
    st.integers(-3, 3), st.integers(), st.floats(), st.sampled_from([10**30, -(10**30), 1e308, -0.0, 2**63])
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in nested lists and mappings."""
    found = [path] if path else []
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        found += places(value, (*path, key))
    return found


@st.composite
def spoilt(draw: st.DrawFn, tree: Any, most: int = 3) -> Any:
    """``tree`` with up to ``most`` values replaced by others, taken away, or put under another name."""
    changed = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, most))):
        there = places(changed)
        if not there:
            break
        *path, key = draw(st.sampled_from(there))
        parent = changed
        for step in path:
            parent = parent[step]
        match draw(st.sampled_from(["replace", "replace", "remove", "rename", "other"])):
            case "remove":
                del parent[key]
            case "rename" if isinstance(parent, dict):
                parent[draw(TEXTS)] = parent.pop(key)
            case "other":
                *elsewhere, last = draw(st.sampled_from(there))
                source = changed
                try:
                    for step in elsewhere:
                        source = source[step]
                    parent[key] = copy.deepcopy(source[last])
                except (KeyError, IndexError, TypeError):
                    parent[key] = None
            case _:
                parent[key] = draw(VALUES)
    return changed


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """``content`` cut off, with flipped bits, with a piece of it elsewhere, or with other bytes in it."""
    spoilt_content = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(spoilt_content) - 1)))
        match draw(st.sampled_from(["cut", "flip", "flip", "zero", "move", "insert"])):
            case "cut":
                del spoilt_content[at:]
            case "flip" if spoilt_content:
                spoilt_content[at] ^= 1 << draw(st.integers(0, 7))
            case "zero":
                end = at + draw(st.integers(1, 64))
                spoilt_content[at:end] = bytes(len(spoilt_content[at:end]))
            case "move":
                piece = spoilt_content[at : at + draw(st.integers(1, 64))]
                where = draw(st.integers(0, len(spoilt_content)))
                spoilt_content[where:where] = piece
            case _:
                spoilt_content[at:at] = draw(st.binary(max_size=32))
    return bytes(spoilt_content)


def result(ask: Callable[[], Any], *ours: type[Exception]) -> Any:
    """What ``ask`` returns; None where it is refused by an error of ours, which says something and not too much."""
    try:
        return ask()
    except ours as error:
        said = str(error)
    assert said.strip()
    assert len(said) < 20_000
    return None
