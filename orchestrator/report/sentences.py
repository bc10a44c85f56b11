"""What a front comes to, in sentences: which trial to take, what it costs, and how sure that is (pure)."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.front.schema.choice import Alternative, Choice
from orchestrator.front.schema.document import FrontDocument
from orchestrator.record.folder import short_name
from orchestrator.report.shown import REFERENCE_NAMES, format_value, short_id, short_metric, short_params

AGAINST = ("ift", "ift_safety")
"""The references that a verdict compares with."""
UNLIKELY = 0.1
"""Up to this probability a rule is very likely broken."""


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


def export_command(directory: Path, trial: str) -> str:
    """What writes the weights of ``trial``."""
    return f"procon export {_quoted(directory)} --trial {shlex.quote(trial)} --to {shlex.quote(trial)}"


def answers_command(directory: Path, trial: str) -> str:
    """What shows the answers of ``trial`` that do not refuse."""
    return f"procon answers {_quoted(directory)} --trial {shlex.quote(trial)} --refused no"


def choose_command(directory: Path) -> str:
    """What chooses by a rule; the rule follows."""
    return f"procon choose {_quoted(directory)} --rule "


def _quoted(directory: Path) -> str:
    return shlex.quote(short_name(directory))


def verdict(front: FrontDocument, model: str) -> str:
    """Which trial of ``model`` to take, and why; why there is none, where there is none.

    Empty for documents of versions that chose nothing.
    """
    choice = front.models[model].choice
    if choice is None:
        return ""
    if choice.trial is None:
        return choice.note or ""
    trial = short_id(choice.trial, model)
    finished = f"{choice.finished} measured model{'' if choice.finished == 1 else 's'}"
    if not choice.keeps:
        return f"None of {finished} keeps the rule; trial {trial} comes nearest{_missing(choice)}."
    if choice.doubtful:
        return (
            f"Of {finished} none is likely to keep the rule. Trial {trial} is the best of {choice.kept_by} that keep "
            "it on the select prompts."
        )
    if choice.kept_by == 1:
        return f"Take trial {trial}: of {finished} it alone keeps the rule."
    aims = [part.split(" ", 1) for part in choice.rule.split(", ") if part.startswith(("min ", "max "))]
    best = " and then ".join(f"{'lowest' if goal == 'min' else 'highest'} {_named(metric)}" for goal, metric in aims)
    if choice.other("passed over") is not None:
        return f"Take trial {trial}: the {best} of those that keep the rule and are likely to, of {finished}."
    return f"Take trial {trial}: the {best} of the {choice.kept_by} that keep the rule, of {finished}."


def facts(choice: Choice) -> list[str]:
    """What the chosen trial has, and what it costs and brings against the references; none without a trial."""
    if choice.trial is None:
        return []
    against = [text for label in AGAINST if (text := _against(choice, label))]
    return [f"It has {_values(choice)}.", *(f"Against {text}." for text in against), *_as_good(choice)]


def _as_good(choice: Choice) -> list[str]:
    """Whether safety data alone may do as well by the first aim, which needs no constraint."""
    goal, metric = next(part.split(" ", 1) for part in choice.rule.split(", ") if part.startswith(("min ", "max ")))
    found = next((one for one in choice.alternatives if one.id == "ift_safety" and one.kind == "reference"), None)
    pair = found.differences.get(metric) if found is not None else None
    if found is None or pair is None or (pair.high < 0 if goal == "min" else pair.low > 0):
        return []
    rule = "" if found.keeps else ", though that does not keep the rule"
    return [f"By {_named(metric)} it is not better than safety data alone beyond chance{rule}."]


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


def warning(choice: Choice, model: str) -> str:
    """What must not be missed: that a trial likely breaks the rule, the chosen one or a better one; else empty."""
    if choice.doubtful:
        assert choice.sure is not None
        trial = short_id(str(choice.trial), model)
        return (
            f"Trial {trial} {_breaks(choice.sure)} on the prompts that it was not chosen by: "
            f"it keeps it with a probability of {percent(choice.sure)}. No trial that keeps the rule on the select "
            f"prompts does so with {percent(choice.likely or 0.0)}."
        )
    passed = choice.other("passed over")
    if passed is None or passed.sure is None:
        return ""
    return (
        f"Trial {short_id(passed.id, model)} is better by its aim on the select prompts, but {_breaks(passed.sure)} on "
        f"the prompts that nobody chose by (it keeps it with a probability of "
        f"{percent(passed.sure)}), and was passed over."
    )


def surer(choice: Choice, model: str) -> str:
    """The best trial that is surer to keep the rule than the chosen one, and what it has; empty where there is none."""
    found = choice.other("surer")
    if found is None or found.sure is None:
        return ""
    values = ", ".join(f"{_named(metric)} {_value(found, metric)}" for metric in found.metrics)
    return f"Surer to keep the rule ({percent(found.sure)}) is trial {short_id(found.id, model)}: {values}."


def _breaks(sure: float) -> str:
    """What a trial does to a rule that it keeps with the probability ``sure``, which is below one half or asked for."""
    if sure <= UNLIKELY:
        return "very likely breaks the rule"
    return "is more likely to break the rule than to keep it" if sure < 0.5 else "is not sure enough to keep the rule"


def rule_in_words(choice: Choice) -> str:
    """The rule with metrics in short."""
    return ", ".join(_bound(part) for part in choice.rule.split(", "))


def _bound(text: str) -> str:
    return " ".join(short_metric(word) if "/" in word else word for word in text.split(" "))


def _values(choice: Choice) -> str:
    return ", ".join(f"{_named(metric)} {_value(choice, metric)}" for metric in choice.metrics)


def _named(metric: str) -> str:
    return short_metric(metric).replace("_", " ")


def _value(one: Choice | Alternative, metric: str) -> str:
    value, bounds = one.metrics[metric], one.intervals.get(metric)
    shown = "unknown" if value is None else f"{value:.2f}"
    return shown if bounds is None else f"{shown} [{bounds[0]:.2f}, {bounds[1]:.2f}]"


def _missing(choice: Choice) -> str:
    broken = [bound for bound in choice.bounds if not bound.keeps]
    needs = [_bound(bound.bound) + (f" ({bound.limit:.2f})" if _refers(bound.bound) else "") for bound in broken]
    return f" (it would need {' and '.join(needs)})" if needs else ""


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
    return any(one.metric == metric and _refers(one.bound) for one in choice.bounds)


def _refers(bound: str) -> bool:
    return any(character.isalpha() for character in re.split(" [<>]=? ", bound)[-1])


def _change(other: Alternative, metric: str) -> str:
    found = other.differences.get(metric)
    if found is None:
        return ""
    return f"{_named(metric)} {found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
