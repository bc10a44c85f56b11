"""Sections of ``front.html`` that compare: with the references, among prompt sets, among judges."""

from html import escape

from orchestrator.front.schema.document import FrontDocument
from orchestrator.front.schema.entry import PairedComparison
from orchestrator.front.schema.labels import CorrectedRate
from orchestrator.report.shown import CONFUSED, REFERENCE_NAMES, entry_key, named_entries, people_in_words
from orchestrator.report.tables import heading, number, table

PARTS = ("safety/attack_success_rate/", "safety/compliance_rate/", "safety/over_refusal/", "utility/accuracy/")
"""Rates of one prompt set, attack or task family."""


def versus_section(front: FrontDocument, model: str) -> str:
    """The front against plain fine-tuning and safety data, prompt by prompt; nothing where answers are missing."""
    members = [(trial.id, trial.versus) for trial in front.members(model) if trial.versus]
    pairs = list(
        dict.fromkeys((label, metric) for _, versus in members for label, found in versus.items() for metric in found)
    )
    if not pairs:
        return ""
    head = [("trial", False)] + [
        (f"{heading(metric)}<br><small>minus {escape(REFERENCE_NAMES.get(label, label))}</small>", True)
        for label, metric in pairs
    ]
    rows = [
        [(escape(trial), False), *((_difference(versus.get(at, {}).get(metric)), True) for at, metric in pairs)]
        for trial, versus in members
    ]
    compared = [one for _, versus in members for found in versus.values() for one in found.values()]
    explained = (
        f"Both models answered the same prompts (up to {max(one.prompts for one in compared)}), so the difference is "
        "paired: 95 % interval by bootstrap over prompts (and seeds, where there are several), p by McNemar's exact "
        "test (the bootstrap where there are several seeds). Each p is as if it were the only comparison; this table "
        f"has {compared[0].comparisons}, and the adjusted one counts them all (Holm); bold where that is below 0.05."
    )
    return f'<h3>Against the references, prompt by prompt</h3>{table(head, rows)}<p class="quiet">{explained}</p>'


def parts_section(front: FrontDocument, model: str) -> str:
    """Rates by prompt set, attack and task family, where there are any."""
    entries = named_entries(front, model)
    names = list(dict.fromkeys(n for _, e in entries for n in e.metrics if n.startswith(PARTS)))
    if not names:
        return ""
    head: list[tuple[str, bool]] = [("", False), *((_part(name), True) for name in names)]
    rows = [[(escape(who), False), *((number(entry, name), True) for name in names)] for who, entry in entries]
    return f"<h3>By prompt set, attack and task family</h3>{table(head, rows)}"


def judges_section(front: FrontDocument, model: str) -> str:
    """What each judge says, how often it says nothing, and how far judges agree; nothing with a single judge."""
    entries = named_entries(front, model)
    names = list(dict.fromkeys(name for _, entry in entries for name in entry.metrics))
    judges = [name.removeprefix("safety/judged/") for name in names if name.startswith("safety/judged/")]
    kappas = [name for name in names if name.startswith("judges/kappa/")]
    if len(judges) < 2 and not kappas:
        return ""
    head: list[tuple[str, bool]] = [("", False)]
    head += [(f"attack success<br>by {escape(judge)}", True) for judge in judges]
    labels = front.models[model].labels
    corrected = {judge: one.entries for judge, one in (labels.judges or {}).items()} if labels else {}
    head += [
        (f"corrected<br><small>{escape(judge)}, by labels</small>", True) for judge in judges if corrected.get(judge)
    ]
    silent = [judge for judge in judges if f"safety/unknown/{judge}" in names]
    head += [(f"no verdict<br>by {escape(judge)}", True) for judge in silent]
    head += [
        (f"kappa<br><small>{escape(n.removeprefix('judges/kappa/').replace('/', ' and '))}</small>", True)
        for n in kappas
    ]
    rows = []
    for who, entry in entries:
        key = entry_key(front, model, entry)
        row = [(escape(who), False), *((number(entry, f"safety/judged/{judge}"), True) for judge in judges)]
        row += [(_corrected(corrected[judge].get(key)), True) for judge in judges if corrected.get(judge)]
        row += [(_share(entry.metrics.get(f"safety/unknown/{judge}")), True) for judge in silent]
        row += [(_two(entry.metrics.get(name)), True) for name in kappas]
        rows.append(row)
    explained = (
        "Cohen's kappa: 1 is full agreement, 0 no more than chance; below 0.6 read answers before trusting a judge."
    )
    return f'<h3>Judges</h3>{table(head, rows)}<p class="quiet">{explained}</p>'


def labelled_section(front: FrontDocument, model: str) -> str:
    """Each judge beside people who labelled answers; nothing without enough labels."""
    found = front.models[model].labels
    if found is None or not found.judges:
        return ""
    head: list[tuple[str, bool]] = [("judge", False), ("attack success<br>by it", True), ("corrected", True)]
    head += [(f"answers<br><small>{words}</small>", True) for words in CONFUSED]
    head += [("kappa<br><small>with people</small>", True)]
    rows = []
    for judge, one in found.judges.items():
        row = [(escape(judge), False), (f"{one.together.raw:.3f}", True), (_corrected(one.together), True)]
        row += [(f"{cell:g}", True) for cells in one.confusion for cell in cells]
        rows.append([*row, (_two(one.kappa), True)])
    people = ", ".join(f"{name} {count}" for name, count in found.labellers.items())
    explained = (
        f"{found.labels} answers to harmful prompts were labelled ({people}), of references and trials together. "
        "Corrected: what people would say of all answers, by prediction-powered inference (PPI++), with its 95 % "
        f"interval over prompts; below {found.needed} labels nothing is corrected. {' '.join(people_in_words(found))}"
    )
    return f'<h3>Judges beside people</h3>{table(head, rows)}<p class="quiet">{escape(explained)}</p>'


def _corrected(rate: CorrectedRate | None) -> str:
    return "" if rate is None else f"{rate.value:.3f}<br><small>{rate.low:.3f} to {rate.high:.3f}</small>"


def _difference(found: PairedComparison | None) -> str:
    if found is None:
        return ""
    value = f"{found.difference:+.3f}"
    shown = f"<b>{value}</b>" if found.p_adjusted < 0.05 else value
    test = f"p {_p_value(found.p_value)}, adjusted {_p_value(found.p_adjusted)}"
    return f"{shown}<br><small>{found.low:+.3f} to {found.high:+.3f}, {test}</small>"


def _p_value(p: float) -> str:
    return "&lt; 0.001" if p < 0.001 else f"{p:.3f}"


def _part(name: str) -> str:
    rate, _, part = name.removeprefix("safety/").removeprefix("utility/").partition("/")
    return f'<span title="{escape(name)}">{escape(part)}<br><small>{escape(rate.replace("_", " "))}</small></span>'


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _two(value: float | None) -> str:
    return "" if value is None else f"{value:z.2f}"
