"""YAML as plain values alone, of bounded size: a file that grows as it is read is refused before it has grown."""

import re
from typing import Any

import yaml

LONGEST = 200_000
"""Characters; the largest preset has some thousands."""
MOST_VALUES = 20_000
"""Values once every alias stands for what it repeats."""
DEEPEST = 64
"""Blocks within blocks."""
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")
"""Characters that neither a path nor a file can hold."""


class YamlFault(ValueError):
    """A text that is no YAML, or none that is taken; says why."""


def read_yaml(text: str) -> Any:
    """The plain value that ``text`` holds.

    Raises:
        YamlFault: it is no YAML, asks for more than plain values, is too large, or would become so by its aliases.
    """
    if len(text) > LONGEST:
        raise YamlFault(f"it has {len(text):,} characters, and {LONGEST:,} is the most that is read")
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:  # a character that YAML does not have
        raise YamlFault(" ".join(str(error).split())) from error
    try:
        return loader.get_single_data()
    except yaml.YAMLError as error:
        raise YamlFault(" ".join(str(error).split())) from error
    except YamlFault:
        raise
    except (ValueError, OverflowError, TypeError) as error:  # a date that is none, a number of thousands of digits
        raise YamlFault(f"a value cannot be read ({error})") from error
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which makes plain values alone; it counts them before it makes them."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _expanded(node, {})
        return node

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise YamlFault(f"it has more than {DEEPEST} blocks within blocks")
        try:
            node: yaml.Node | None = super().compose_node(parent, index)
        finally:
            self._depth -= 1
        if isinstance(node, yaml.ScalarNode) and _UNUSABLE.search(node.value):
            raise YamlFault(f"{node.value!r} holds a character that no file can hold: remove it")
        return node


def _expanded(node: yaml.Node, sizes: dict[int, int | None]) -> int:
    """How many values ``node`` is, each alias counted as all that it repeats.

    Args:
        node: of a composed document.
        sizes: of nodes that were counted; None of one that is being counted.
    """
    known = sizes.get(id(node), 0)
    if known is None:
        raise YamlFault("it repeats itself within itself by an alias: write it out")
    if known:
        return known
    sizes[id(node)] = None
    total = 1
    if isinstance(node, yaml.MappingNode):
        total += sum(_expanded(key, sizes) + _expanded(value, sizes) for key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        total += sum(_expanded(item, sizes) for item in node.value)
    if total > MOST_VALUES:
        raise YamlFault(f"its aliases make more than {MOST_VALUES:,} values of it: write it out, or shorten it")
    sizes[id(node)] = total
    return total
