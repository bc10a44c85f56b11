"""When a searched field is drawn at all: its ``when``, and the dependencies that the schema of a trial has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from sweeps.space.unions import blocks_with_types
from training.config import TrialConfig

WARMUP, AFTER, DECAY = "constraint.warmup_steps", "constraint.alpha_after", "constraint.decay"


@dataclass(frozen=True)
class Condition:
    """Another field must have one of ``values``, or none of them where ``negated``."""

    path: str
    values: tuple[Any, ...]
    negated: bool = False

    @classmethod
    def parse(cls, path: str, written: Any) -> "Condition":
        """The condition on ``path`` that a ``when`` writes: ``value``, ``[values]`` or ``{not: value or [values]}``.

        Raises:
            ValueError: it is none of the three.
        """
        if isinstance(written, Mapping):
            if list(written) != ["not"]:
                raise ValueError(
                    f"when ({path}: {dict(written)!r}) must be a value, a list of values or {{not: value}}"
                )
            return cls(path, _values(written["not"]), negated=True)
        if isinstance(written, str) and written.startswith("not "):
            raise ValueError(f"when ({path}: {written!r}) is read as a value: write {{not: {written[4:]}}}")
        return cls(path, _values(written))

    def holds(self, value: Any) -> bool:
        """Whether a field with ``value`` keeps the condition."""
        return (value in self.values) is not self.negated

    def __str__(self) -> str:
        values = " or ".join(map(str, self.values))
        return f"{self.path} {'is not' if self.negated else 'is'} {values}"


def _values(written: Any) -> tuple[Any, ...]:
    return tuple(written) if isinstance(written, list) else (written,)


def value_at(tree: Mapping[str, Any], path: str) -> Any:
    """The value at the dotted ``path`` of nested mappings.

    Raises:
        KeyError: there is none.
    """
    node: Any = tree
    for key in path.split("."):
        if not isinstance(node, Mapping):
            raise KeyError(path)
        node = node[key]
    return node


def built_in(paths: Sequence[str], fixed: Mapping[str, Any], choices: Mapping[str, Sequence[Any]]) -> list["Rule"]:
    """Dependencies that every search has, whether its ``when`` says so or not.

    ``alpha_after`` follows a warm-up that ends; with ``decay: linear`` it is the end of the line in any case. A field
    that only some types of a block have is drawn when such a type was.

    Args:
        paths: the searched fields.
        fixed: the trial's settings that are not searched, nested.
        choices: values of the fields that are searched as a choice.
    """
    rules = []
    if AFTER in paths and DECAY not in paths and _fixed(fixed, DECAY) != "linear":
        rules.append(Rule(AFTER, Condition(WARMUP, ("all",), negated=True)))
    searched = [name for path, names in choices.items() if path.endswith(".type") for name in names]
    for block, members in blocks_with_types(TrialConfig, searched).items():
        for path in paths:
            field = path.removeprefix(f"{block}.").split(".")[0]
            if not path.startswith(f"{block}.") or field == "type" or f"{block}.type" not in paths:
                continue
            names = [name for name in choices.get(f"{block}.type", ()) if name in members]
            having = tuple(name for name in names if field in members[name].model_fields)
            if len(having) < len(names):
                rules.append(Rule(path, Condition(f"{block}.type", having)))
    return rules


@dataclass(frozen=True)
class Rule:
    """``path`` is drawn only where ``condition`` holds."""

    path: str
    condition: Condition


def _fixed(fixed: Mapping[str, Any], path: str) -> Any:
    try:
        return value_at(fixed, path)
    except KeyError:
        return None


def draw_order(paths: Sequence[str], rules: Sequence[Rule]) -> list[str]:
    """``paths`` such that whatever a rule looks at is drawn before; otherwise as they were written.

    Raises:
        ValueError: fields wait for each other.
    """
    waits = [(rule.path, rule.condition.path) for rule in rules if rule.condition.path in paths]
    graph = {path: [other for waiting, other in waits if waiting == path] for path in paths}
    try:
        sorter = TopologicalSorter(
            {path: [other for other in waits if other in graph] for path, waits in graph.items()}
        )
        return list(sorter.static_order())
    except CycleError as error:
        circle = " -> ".join(f"search.{path}" for path in error.args[1])
        raise ValueError(f"{circle} wait for each other in their when: remove one of these conditions") from error


def check_rules(rules: Sequence[Rule], fixed: Mapping[str, Any], choices: Mapping[str, Sequence[Any]]) -> None:
    """Refuse conditions on fields that no trial has, and fields that could never be drawn.

    Args:
        rules: of the search.
        fixed: the trial's settings, nested.
        choices: values of the searched fields that can have only a few, by path; others map to no values.

    Raises:
        ValueError: the sentence names the field, the condition and the fix.
    """
    for rule in rules:
        condition = rule.condition
        if condition.path in choices:
            possible = list(choices[condition.path])
        else:
            try:
                possible = [value_at(fixed, condition.path)]
            except KeyError:
                raise ValueError(
                    f"search.{rule.path}.when ({condition.path}) is not a field of a trial: check its spelling"
                ) from None
        if possible and not any(condition.holds(value) for value in possible):
            raise ValueError(
                f"search.{rule.path} is never drawn, because {condition.path} is {' or '.join(map(str, possible))} "
                f"and the range needs that {condition}: change one of the two, or remove the range"
            )
