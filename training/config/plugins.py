"""Constraints, judges and metrics that other installed packages bring, which they declare as entry points.

A package declares one in its ``pyproject.toml``::

    [project.entry-points."procon.constraints"]
    ridge = "my_package.ridge:RidgeConstraint"

Only their names are looked at until a specification asks for one: what nobody uses costs no time and breaks nothing.
"""

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, get_args

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

Group = Literal["procon.constraints", "procon.judges", "procon.metrics"]


@cache
def _declared(group: Group) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))


def plugin_names(group: Group) -> list[str]:
    """Names that installed packages declare in ``group``; nothing of them is imported."""
    return sorted({point.name for point in _declared(group)})


def plugin_versions(names: Collection[str]) -> dict[str, str]:
    """Version of every distribution that declares one of ``names`` in any group, by the distribution's name."""
    groups: tuple[Group, ...] = get_args(Group)
    found = [point.dist for group in groups for point in _declared(group) if point.name in names]
    return {dist.name: dist.version for dist in found if dist is not None}


def load_plugin(group: Group, name: str) -> Any:
    """What the entry point ``name`` of ``group`` names.

    Raises:
        ValueError: two packages declare it, or it cannot be imported; the text says whose it is and what to do.
    """
    found = {point.value: point for point in _declared(group) if point.name == name}
    owners = ", ".join(sorted({_owner(point) for point in found.values()}))
    if len(found) > 1:
        raise ValueError(f"{name} is declared in {group} more than once ({owners}): uninstall all but one")
    (point,) = found.values()
    try:
        return point.load()
    except Exception as error:  # whatever a foreign module does while it is imported
        raise ValueError(
            f"{name} of {owners} cannot be imported from {point.value} ({type(error).__name__}: {error}): "
            "repair that package, or install what it lacks"
        ) from error


def _owner(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.value


@dataclass(frozen=True)
class OrPlugin:
    """Annotation of a union of blocks told apart by ``type``: a type of none of them is looked for in ``group``."""

    group: Group
    base: type[BaseModel]
    """What the classes of these entry points are derived from."""

    def plugins(self, names: Collection[str]) -> dict[str, type[BaseModel]]:
        """The classes of those entry points among ``names`` that can be imported, by name."""
        found = {}
        for name in plugin_names(self.group) if names else ():
            if name in names:
                with contextlib.suppress(ValueError):  # told when a block of that type is validated
                    found[name] = self._load(name)
        return found

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        own = [str(member.model_fields["type"].default) for member in get_args(source)]
        return core_schema.no_info_wrap_validator_function(
            lambda value, validate: self._chosen(value, validate, own),
            handler(source),
            serialization=core_schema.simple_ser_schema("any"),  # by its own class, which the union may not know
        )

    def _chosen(self, value: Any, validate: Callable[[Any], Any], own: list[str]) -> Any:
        if isinstance(value, self.base):
            return value
        kind = value.get("type") if isinstance(value, Mapping) else None
        others = plugin_names(self.group) if isinstance(kind, str) and kind not in own else []
        if kind in others:
            return self._load(str(kind)).model_validate(value)
        if others:
            expected = ", ".join(repr(name) for name in [*own, *others])
            raise PydanticCustomError(
                "union_tag_invalid",
                "'{tag}' is none of the expected tags: {expected_tags}",
                {"tag": kind, "expected_tags": expected},
            )
        return validate(value)

    def _load(self, name: str) -> type[BaseModel]:
        found = load_plugin(self.group, name)
        if not (isinstance(found, type) and issubclass(found, self.base)):
            raise ValueError(
                f"{name} of {self.group} is no class derived from {self.base.__name__} ({found!r}): repair that package"
            )
        return found
