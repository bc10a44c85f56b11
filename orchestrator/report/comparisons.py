"""Sections of ``front.html`` that compare: with the references, among prompt sets, among judges."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from orchestrator.report.plots.data import REFERENCE_NAMES
from orchestrator.report.tables import front_members, heading, number, table

PARTS = ("safety/attack_success_rate/", "safety/compliance_rate/", "safety/over_refusal/", "utility/accuracy/")
"""Rates of one prompt set, attack or task family."""


def versus_section(front: Mapping[str, Any], model: str) -> str:
    """The front against plain fine-tuning and safety data, prompt by prompt; nothing where answers are missing."""
    members = [trial for trial in front_members(front, model) if trial.get("versus")]
    pairs = list(
        dict.fromkeys((label, metric) for t in members for label in t["versus"] for metric in t["versus"][label])
    )
    if not pairs:
        return ""
    head = [("trial", False)] + [
        (f"{heading(metric)}<br><small>minus {escape(REFERENCE_NAMES.get(label, label))}</small>", True)
        for label, metric in pairs
    ]
    rows = [
        [(escape(trial["id"]), False), *((_difference(trial["versus"].get(at, {}).get(m)), True) for at, m in pairs)]
        for trial in members
    ]
    prompts = max(
        trial["versus"][at][m]["prompts"] for trial in members for at, m in pairs if m in trial["versus"].get(at, {})
    )
    explained = (
        f"Both models answered the same prompts (up to {prompts}), so the difference is paired: 95 % interval by "
        "bootstrap over prompts (and seeds, where there are several), p by McNemar's exact test (the bootstrap where "
        f"there are several seeds). {_family(members)}"
    )
    return f'<h3>Against the references, prompt by prompt</h3>{table(head, rows)}<p class="quiet">{explained}</p>'


def parts_section(front: Mapping[str, Any], model: str) -> str:
    """Rates by prompt set, attack and task family, where there are any."""
    entries = _entries(front, model)
    names = list(dict.fromkeys(n for _, e in entries for n in e["metrics"] if n.startswith(PARTS)))
    if not names:
        return ""
    head: list[tuple[str, bool]] = [("", False), *((_part(name), True) for name in names)]
    rows = [[(escape(who), False), *((number(entry, name), True) for name in names)] for who, entry in entries]
    return f"<h3>By prompt set, attack and task family</h3>{table(head, rows)}"


def judges_section(front: Mapping[str, Any], model: str) -> str:
    """What each judge says, how often it says nothing, and how far judges agree; nothing with a single judge."""
    entries = _entries(front, model)
    names = list(dict.fromkeys(name for _, entry in entries for name in entry["metrics"]))
    judges = [name.removeprefix("safety/judged/") for name in names if name.startswith("safety/judged/")]
    kappas = [name for name in names if name.startswith("judges/kappa/")]
    if len(judges) < 2 and not kappas:
        return ""
    head: list[tuple[str, bool]] = [("", False)]
    head += [(f"attack success<br>by {escape(judge)}", True) for judge in judges]
    silent = [judge for judge in judges if f"safety/unknown/{judge}" in names]
    head += [(f"no verdict<br>by {escape(judge)}", True) for judge in silent]
    head += [
        (f"kappa<br><small>{escape(n.removeprefix('judges/kappa/').replace('/', ' and '))}</small>", True)
        for n in kappas
    ]
    rows = []
    for who, entry in entries:
        row = [(escape(who), False), *((number(entry, f"safety/judged/{judge}"), True) for judge in judges)]
        row += [(_share(entry["metrics"].get(f"safety/unknown/{judge}")), True) for judge in silent]
        row += [(_two(entry["metrics"].get(name)), True) for name in kappas]
        rows.append(row)
    explained = (
        "Cohen's kappa: 1 is full agreement, 0 no more than chance; below 0.6 read answers before trusting a judge."
    )
    return f'<h3>Judges</h3>{table(head, rows)}<p class="quiet">{explained}</p>'


def _entries(front: Mapping[str, Any], model: str) -> list[tuple[str, Mapping[str, Any]]]:
    """References and front, with what to call them."""
    references = front["models"][model]["reference"].items()
    named = [(REFERENCE_NAMES.get(label, label), entry) for label, entry in references]
    return [*named, *((trial["id"], trial) for trial in front_members(front, model))]


def _difference(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    value, p = f"{found['difference']:+.3f}", found["p_value"]
    adjusted = found.get("p_adjusted")  # reports written before there were any are still read
    test = f"p {_p_value(p)}" + ("" if adjusted is None else f", adjusted {_p_value(adjusted)}")
    shown = f"<b>{value}</b>" if (p if adjusted is None else adjusted) < 0.05 else value
    return f"{shown}<br><small>{found['low']:+.3f} to {found['high']:+.3f}, {test}</small>"


def _p_value(p: float) -> str:
    return "&lt; 0.001" if p < 0.001 else f"{p:.3f}"


def _family(members: Sequence[Mapping[str, Any]]) -> str:
    """How many comparisons the p-values belong to."""
    compared = [one for trial in members for found in trial["versus"].values() for one in found.values()]
    if "comparisons" not in compared[0]:
        return "The p-values are not corrected for their number; bold below 0.05."
    return (
        f"Each p is as if it were the only comparison; this table has {compared[0]['comparisons']}, and the adjusted "
        "one counts them all (Holm); bold where that is below 0.05."
    )


def _part(name: str) -> str:
    rate, _, part = name.removeprefix("safety/").removeprefix("utility/").partition("/")
    return f'<span title="{escape(name)}">{escape(part)}<br><small>{escape(rate.replace("_", " "))}</small></span>'


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _two(value: float | None) -> str:
    return "" if value is None else f"{value:z.2f}"
