"""What a front comes to, in sentences: which trial to take, what it costs, and how sure that is (pure)."""

from collections.abc import Mapping
from typing import Any

from orchestrator.front.schema.choice import Alternative, Choice
from orchestrator.front.schema.document import FrontDocument
from orchestrator.report.shown import REFERENCE_NAMES, format_value, short_id, short_metric, short_params

AGAINST = ("ift", "ift_safety")
"""The references that a verdict compares with."""


def settings(params: Mapping[str, Any]) -> str:
    """Settings by dotted path for people, such as ``alpha 0.535 · layers 0``."""
    names = short_params(params)
    return " · ".join(f"{names[path].replace('_', ' ')} {format_value(value)}" for path, value in params.items())


def percent(share: float, *, short: bool = False) -> str:
    """A probability in whole percent; none of them is certain."""
    if share < 0.01:
        return "< 1 %" if short else "less than 1 %"
    if share > 0.99:
        return "> 99 %" if short else "more than 99 %"
    return f"{100 * share:.0f} %"


def verdict(front: FrontDocument, model: str) -> str:
    """One sentence or two: which trial of ``model`` to take; why there is none, where there is none.

    Empty for documents of versions that chose nothing.
    """
    choice = front.models[model].choice
    if choice is None:
        return ""
    if choice.trial is None:
        return choice.note or ""
    trial = short_id(choice.trial, model)
    if choice.keeps:
        head = f"Take trial {trial}: {_values(choice)}."
    else:
        head = f"No trial keeps the rule. Trial {trial} comes nearest to it, with {_values(choice)}{_missing(choice)}."
    against = [text for label in AGAINST if (text := _against(choice, label))]
    compared = f" Against {'; against '.join(against)}." if against else ""
    return head + compared


def how_sure(choice: Choice) -> str:
    """How sure it is that the chosen trial keeps the rule; empty where there is no trial or no bound."""
    if choice.trial is None or not choice.bounds:
        return ""
    if choice.sure is None:
        return "How sure that is cannot be told, since a metric in the rule has no known error."
    broken = [_bound(bound.bound) for bound in choice.bounds if not bound.keeps]
    text = f"It keeps the rule with a probability of {percent(choice.sure)}, by prompts that it was not chosen by"
    if broken and choice.keeps:
        text += f"; on these it breaks {' and '.join(broken)}"
    return text + "."


def rule_in_words(choice: Choice) -> str:
    """The rule with metrics in short."""
    return ", ".join(_bound(part) for part in choice.rule.split(", "))


def _bound(text: str) -> str:
    return " ".join(short_metric(word) if "/" in word else word for word in text.split(" "))


def _values(choice: Choice) -> str:
    return ", ".join(f"{_named(metric)} {_with_interval(choice, metric)}" for metric in choice.metrics)


def _named(metric: str) -> str:
    return short_metric(metric).replace("_", " ")


def _with_interval(choice: Choice, metric: str) -> str:
    value, bounds = choice.metrics[metric], choice.intervals.get(metric)
    shown = "unknown" if value is None else f"{value:.2f}"
    return shown if bounds is None else f"{shown} [{bounds[0]:.2f}, {bounds[1]:.2f}]"


def _missing(choice: Choice) -> str:
    broken = [bound for bound in choice.bounds if not bound.keeps]
    return "".join(f"; it would need {_bound(bound.bound)}, that is {bound.limit:.2f}" for bound in broken)


def _against(choice: Choice, label: str) -> str:
    found = next((one for one in choice.alternatives if one.kind == "reference" and one.id == label), None)
    if found is None:
        return ""
    aims = [part.split(" ", 1)[1] for part in choice.rule.split(", ") if part.startswith(("min ", "max "))]
    compared = [metric for metric in choice.metrics if metric in aims or _compares(choice, metric)]
    parts = [text for metric in compared if (text := _change(found, metric))]
    return f"{REFERENCE_NAMES.get(label, label)}: {', '.join(parts)}" if parts else ""


def _compares(choice: Choice, metric: str) -> bool:
    """Whether a bound on ``metric`` compares it with a reference rather than with a number."""
    return any(one.metric == metric and any(c.isalpha() for c in one.bound.split(" ", 2)[2]) for one in choice.bounds)


def _change(other: Alternative, metric: str) -> str:
    found = other.differences.get(metric)
    if found is None:
        return ""
    return f"{_named(metric)} {found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
