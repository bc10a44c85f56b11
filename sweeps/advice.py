"""What a value must be, in English, from one fault that pydantic finds."""

from typing import Any

_PREFIX = "Value error, "
_SHOWN = 200
_MUST_BE = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a finite number",
    "float_type": "a finite number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "a block of fields",
    "mapping_type": "a block of fields",
    "model_type": "a block of fields",
    "model_attributes_type": "a block of fields",
    "union_tag_not_found": "a block of fields with a type",
    "string_pattern_mismatch": "made of letters, digits, dots, dashes and underscores, starting with a letter or digit",
}
"""By type of the fault."""
_LENGTHS = {"too_short": "a list of at least {}", "too_long": "a list of at most {}"}


def must_be(fault: Any) -> str:
    """What the value must be, as the end of ``it must be``."""
    kind, context = fault["type"], fault.get("ctx", {})
    if kind in _LENGTHS:
        return _LENGTHS[kind].format(_items(context["min_length" if kind == "too_short" else "max_length"]))
    if kind == "string_too_short":
        return "a text that is not empty" if context["min_length"] == 1 else f"at least {context['min_length']} letters"
    if kind == "string_too_long":
        return f"at most {context['max_length']} letters"
    if kind == "union_tag_invalid":
        return f"a block whose type is one of {context['expected_tags']}"
    return _MUST_BE.get(kind) or str(fault["msg"]).removeprefix("Input should be ")


def says(fault: Any) -> str:
    """The fault as a clause: a validator's own words, else ``it must be`` and so on."""
    return str(fault["msg"]).removeprefix(_PREFIX) if fault["type"] == "value_error" else f"it must be {must_be(fault)}"


def quoted(value: Any) -> str:
    """``value`` as a sentence names it: its beginning, where it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _items(count: int) -> str:
    return f"{count} item" if count == 1 else f"{count} items"
