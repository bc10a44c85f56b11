"""Sections of ``front.html`` that explain: what mattered, what cheap metrics foretold, what deserves a second look."""

from collections.abc import Sequence
from html import escape

from orchestrator.front.importance import FRONT
from orchestrator.front.prediction import MEAN_OVER_LAYERS
from orchestrator.front.schema.document import FrontDocument
from orchestrator.front.schema.explanations import RungPrediction, SettingImportance
from orchestrator.report.tables import Cells, heading, table

SHOWN_RUNGS = 6
PREDICTED_SECTION = "How well did cheap metrics predict"


def notes_section(front: FrontDocument) -> str:
    """What deserves a second look, as a list; nothing where nothing does."""
    several = len(front.models) > 1
    items = [
        f"<li>{escape(note.model + ': ' if several and note.model else '')}{escape(note.sentence)}</li>"
        for note in front.notes
    ]
    return f'<h3>Worth a second look</h3><ul class="note">{"".join(items)}</ul>' if items else ""


def prediction_section(front: FrontDocument, model: str) -> str:
    """Rank correlation of rung metrics with the objectives; of per-layer metrics their mean over the layers."""
    rows = [row for row in front.models[model].prediction if "/layer_" not in row.metric]
    if not rows:
        return ""
    counts = {row.n for row in rows}
    trials = f"{min(counts)} to {max(counts)}" if len(counts) > 1 else str(*counts)
    if all(row.spearman is None for row in rows):
        few = f"Nothing can be said: finished trials with both measurements number {trials}, or all measured the same."
        return f'<h3>{PREDICTED_SECTION}</h3><p class="quiet">{few}</p>'
    found = {(row.step, row.metric, row.objective): row for row in rows}
    steps, objectives = _spread(sorted({row.step for row in rows})), front.metrics
    head = [
        ("rung metric", False),
        *((f"{heading(o)}<br><small>step {s}</small>", True) for o in objectives for s in steps),
    ]
    names = dict.fromkeys(row.metric for row in rows)
    lines: list[Cells] = [
        [(_rung_name(name), False), *((_correlation(found.get((s, name, o))), True) for o in objectives for s in steps)]
        for name in names
    ]
    explained = (
        "Spearman's rank correlation between a metric measured at a rung, without generation, and the final objective "
        f"over the {trials} finished trials that have both, with its 95 % interval; bold where that leaves out 0. "
        "Pruned trials have no final value, so that the range is narrower than what was searched. A negative sign "
        "predicts as well as a positive one."
    )
    return f'<h3>{PREDICTED_SECTION}</h3>{table(head, lines)}<p class="quiet">{explained}</p>'


def importance_section(front: FrontDocument, model: str) -> str:
    """Which searched settings decided, as bars."""
    found = front.models[model].importance
    targets = found.targets
    if not targets:
        return ""
    names = list(dict.fromkeys(row.param for rows in targets.values() for row in rows))
    by_target = {target: {row.param: row for row in rows} for target, rows in targets.items()}
    head = [("setting", False), *(("the front" if t == FRONT else heading(t), False) for t in targets)]
    rows: list[Cells] = [
        [(escape(name), False), *((_bar(by_target[target].get(name)), False) for target in targets)] for name in names
    ]
    doubt = "" if found.reliable else f" <b>With only {found.n} finished trials these shares are unreliable.</b>"
    explained = (
        "Share of each setting in what tells the best trials from all (PED-ANOVA). p: how often as much comes out "
        f"when the results are shuffled among the trials; pale where that is above 0.05.{doubt}"
    )
    return f'<h3>Which settings mattered</h3>{table(head, rows)}<p class="quiet">{explained}</p>'


def _correlation(found: RungPrediction | None) -> str:
    if found is None or found.spearman is None or found.low is None or found.high is None:
        return "<small>none</small>"
    value = f"{found.spearman:+.2f}"
    sure = not found.low <= 0 <= found.high
    return f"{f'<b>{value}</b>' if sure else value}<br><small>{found.low:+.2f} to {found.high:+.2f}</small>"


def _bar(found: SettingImportance | None) -> str:
    if found is None:
        return ""
    strength = "" if found.p_value <= 0.05 else " pale"
    width = max(1, round(110 * found.importance))
    bar = f'<svg class="bar{strength}" width="{width}" aria-hidden="true"><rect width="100%" height="100%"/></svg>'
    return f"{bar}{found.importance:.2f} <small>p {found.p_value:.2f}</small>"


def _spread(steps: Sequence[int]) -> list[int]:
    """At most ``SHOWN_RUNGS`` of ``steps``, the first and the last among them."""
    if len(steps) <= SHOWN_RUNGS:
        return list(steps)
    return [steps[round(i * (len(steps) - 1) / (SHOWN_RUNGS - 1))] for i in range(SHOWN_RUNGS)]


def _rung_name(name: str) -> str:
    if name.endswith(MEAN_OVER_LAYERS):
        return f"{escape(name.removesuffix(MEAN_OVER_LAYERS))}<br><small>mean over layers</small>"
    return escape(name)
