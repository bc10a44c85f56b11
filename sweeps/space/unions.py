"""Blocks that come in several types, told apart by their field ``type``."""

from collections.abc import Collection, Iterator
from functools import cache
from typing import Any

from pydantic import BaseModel

from training.config import OrPlugin


def type_name(model: type[BaseModel]) -> str | None:
    """The value of ``type`` that stands for ``model``; None where it has no such field."""
    field = model.model_fields.get("type")
    return field.default if field is not None and isinstance(field.default, str) else None


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models_in(argument)


def blocks_with_types(model: type[BaseModel], others: Collection[str] = ()) -> dict[str, dict[str, type[BaseModel]]]:
    """The fields of ``model`` that hold one of several types: field -> type's name -> the model of that type.

    Args:
        model: whose fields.
        others: types that may be of other packages, which are imported where they are.
    """
    found: dict[str, dict[str, type[BaseModel]]] = {}
    for field, info in model.model_fields.items():
        if info.discriminator is not None:
            found[field] = {str(type_name(member)): member for member in _models_in(info.annotation)}
            for marker in info.metadata:
                if isinstance(marker, OrPlugin):
                    found[field] |= marker.plugins([name for name in others if name not in found[field]])
    return found


@cache
def type_names(model: type[BaseModel]) -> frozenset[str]:
    """Names of the types of all such blocks in ``model``, at every depth."""
    names = {name for members in blocks_with_types(model).values() for name in members}
    for info in model.model_fields.values():
        for inner in _models_in(info.annotation):
            names |= type_names(inner)
    return frozenset(names)
