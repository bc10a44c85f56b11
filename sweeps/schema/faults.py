"""Faults that pydantic finds in a specification, as sentences a person can act on."""

import difflib
import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from sweeps.advice import must_be, quoted, says
from sweeps.schema.spec import SweepSpec
from sweeps.space.unions import type_name, type_names


def sentences(faults: Sequence[Any]) -> list[str]:
    """Faults of pydantic as one sentence per field: field, value, what to do."""
    by_field: dict[tuple[Any, ...], list[Any]] = {}
    for fault in faults:
        by_field.setdefault(_field_path(fault), []).append(fault)
    return [_sentence(path, found) for path, found in by_field.items()]


def _field_path(fault: Any) -> tuple[Any, ...]:
    """The location as a person wrote it: without the names of union members that pydantic adds."""
    location = fault["loc"]
    unknown = location[-1:] if fault["type"] == "extra_forbidden" else ()  # a person's own word, whatever it looks like
    kept: list[Any] = []
    for part in location[: len(location) - len(unknown)]:
        if isinstance(part, str) and (_UNION_MEMBER.search(part) or part in type_names(SweepSpec)):
            continue
        kept.append(part)
    return (*kept, *unknown)


_UNION_MEMBER = re.compile(r"[\[('-]|^(str|int|float|bool)$")
_NAMED = re.compile(r"^[a-z_]+(\.[a-z_]+)* (\(|is missing)")


def _sentence(path: tuple[Any, ...], faults: Sequence[Any]) -> str:
    field, fault = ".".join(str(part) for part in path), faults[0]
    value = fault["input"]
    if fault["type"] == "missing":
        return f"{field} is missing: add it to the spec"
    if fault["type"] == "extra_forbidden":
        there = _fields_beside(fault["loc"])
        near = difflib.get_close_matches(str(path[-1]), there, n=1)
        fix = f"did you mean {near[0]}?" if near else f"remove it, or use one of {', '.join(there)}"
        return f"{field} ({quoted(value)}) is an unknown field: {fix}"
    if fault["type"] == "value_error":
        return _located(path, says(fault))
    if fault["type"] == "union_tag_invalid":
        context = fault["ctx"]
        return f"{field}.type ({context['tag']!r}) is refused: it must be one of {context['expected_tags']}"
    shown = f" ({quoted(value)})" if isinstance(value, str | int | float | bool | list | None) else ""
    return f"{field}{shown} is refused: it must be {' or '.join(dict.fromkeys(must_be(f) for f in faults))}"


def _located(path: tuple[Any, ...], text: str) -> str:
    """A validator's sentence behind the dotted path of what it is about, without naming a field twice."""
    named = text.partition(" ")[0] if _NAMED.match(text) else ""
    parts = [str(part) for part in path]
    if named and named in parts:
        return ".".join([*parts[: parts.index(named)], text])
    return ".".join([*parts, text]) if named else ": ".join([".".join(parts), text] if parts else [text])


def _fields_beside(location: Sequence[Any]) -> list[str]:
    """Names of the fields that could stand where the last part of a fault's location stands."""
    models: list[type[BaseModel]] = [SweepSpec]
    for part in location[:-1]:
        if isinstance(part, int) or _UNION_MEMBER.search(part):
            continue
        if part in type_names(SweepSpec):
            models = [model for model in models if part == type_name(model)]
            continue
        models = [inner for model in models for inner in _inner_models(model, str(part))]
    return [name for model in models for name in model.model_fields]


def _inner_models(model: type[BaseModel], field: str) -> list[type[BaseModel]]:
    info = model.model_fields.get(field)
    found: list[type[BaseModel]] = []
    stack: list[Any] = [info.annotation] if info else []
    while stack:
        annotation = stack.pop()
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found.append(annotation)
        stack.extend(getattr(annotation, "__args__", ()))
    return found
