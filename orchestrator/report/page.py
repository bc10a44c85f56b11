"""``front.html``: one self-contained page that opens on what to take; nothing is loaded from elsewhere.

Its only script is made of the files in ``assets/`` and draws from the JSON beside it. The page's policy names
that script and the style sheet by their hashes and allows nothing else, so that no text of a sweep can run.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from orchestrator.front.pooling import Answers
from orchestrator.front.schema.comparison import ModelComparison, NormalisedModel
from orchestrator.front.schema.document import FrontDocument
from orchestrator.record.atomic import write_text
from orchestrator.record.trials import TrialRecord
from orchestrator.report.comparisons import judges_section, labelled_section, parts_section, versus_section
from orchestrator.report.explanations import importance_section, notes_section, prediction_section
from orchestrator.report.page_data import comparison_data, page_data
from orchestrator.report.plots.shapes import Panel, PlotData
from orchestrator.report.provenance import provenance_section
from orchestrator.report.sentences import (
    export_command,
    facts,
    how_sure,
    rule_in_words,
    settings,
    surer,
    verdict,
    warning,
)
from orchestrator.report.side_by_side import normalised_section
from orchestrator.report.tables import comparison_table, trials_table
from sweeps.statistics.response import FEWEST

_COURSE = (
    "<p>How far the refusal direction, extracted anew, has turned from that of the untouched model, and how likely the "
    "model is to begin its answer to a harmful prompt with a refusal (0: as likely as not). Measured without "
    "generation, on the prompts that the search may see. Drift is not behaviour: read both.</p>"
)

_LINKED = (
    '<p class="quiet">A line is a trial. Draw a span on an axis to leave out the others, in every figure and the '
    "table.</p>"
)
_SURFACE = (
    '<p class="quiet">What a Gaussian process makes of the trials (points). It is a guess: settings that are not '
    "shown vary too, and count as luck.</p>"
)
_HEAT = (
    '<p class="quiet">Of the trial or reference that is picked: the cosine of the refusal direction with that before '
    "training (1 is unmoved), at every step at which it was measured. Colours mean the same for all trials.</p>"
)
SCRIPTS = ("figures.js", "draws.js", "rules.js", "parallel.js", "surface.js", "heat.js", "page.js")
"""Parts of the one script, in one scope."""
SECTIONS = (versus_section, parts_section, judges_section, labelled_section, importance_section, prediction_section)
"""What stands below the front and the trials of a model, where there is something to show."""


def write_html(
    data: PlotData,
    front: FrontDocument,
    path: Path,
    answers_page: str | None = None,
    manifest: Mapping[str, Any] | None = None,
    records: Iterable[TrialRecord] = (),
    answers: Answers | None = None,
) -> None:
    """Write the page of ``data`` with the tables of ``front`` to ``path``, in the sweep's folder.

    Args:
        data: of the front.
        front: of the sweep.
        path: the file.
        answers_page: name of a file beside it with answers; None where there is none.
        manifest: what the sweep ran with; None leaves that out.
        records: what trials and references reported on their way.
        answers: rows by trial id; their verdicts are on the page, without texts.
    """
    several = len(data.panels) > 1
    drawn = page_data(data, front, path.parent, answers_page, records, answers)
    cards = "".join(_answer(front, panel.model, path.parent) for panel in data.panels)
    body = [f"<h1>{escape(data.name)}: which trial to take</h1>"]
    body.append(f'<section class="answers" aria-label="what to take">{cards}</section>' if cards else "")
    if front.comparison is not None and front.comparison.normalised is not None:
        body += ["<h2>The models' fronts compared</h2>", normalised_section(front.comparison.normalised)]
    elif several:
        body += ["<h2>The models' fronts compared</h2>", comparison_table(front)]
    for place, panel in enumerate(data.panels):
        body += _model(place, panel, front, drawn["models"][place])
    body += [
        notes_section(front),
        f'<div class="beyond"><h2>How to read this page</h2>{_how_to_read(data, front)}</div>',
    ]
    body.append(f'<p class="printed quiet">A summary: {escape(path.name)} shows every trial, and more of each.</p>')
    body.append(provenance_section(manifest or {}))
    write_text(path, document(f"{data.name}: Pareto front", "".join(body), drawn))


def write_comparison_html(found: ModelComparison, path: Path) -> None:
    """Write a page that sets models of several sweeps side by side to ``path``."""
    cards = "".join(_card(found, model) for model in found.models)
    body = (
        f'<h1>Models compared</h1><section class="answers" aria-label="what to take">{cards}</section>'
        f'<p class="quiet">Rule: {escape(found.rule)}</p>{normalised_section(found)}'
    )
    write_text(path, document("Models compared", body, comparison_data(found)))


def document(title: str, body: str, drawn: Any = None) -> str:
    """A whole page.

    Args:
        title: of the window, as plain text.
        body: HTML.
        drawn: what the script draws, as :func:`page_data` gives it; None leaves out the script.
    """
    assets = files("orchestrator.report") / "assets"
    style, *scripts = ((assets / name).read_text(encoding="utf-8") for name in ("page.css", *SCRIPTS))
    script = '"use strict";\n(() => {\n' + "".join(scripts) + "})();\n"
    # In a script element "</" and "<!--" would end or change it, whatever the JSON says.
    text = json.dumps(drawn, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    drawing = f'<script type="application/json" id="front">{text}</script><script>{script}</script>'
    allowed = "'none'" if drawn is None else _hash(script)
    policy = f"default-src 'none'; script-src {allowed}; style-src {_hash(style)}; base-uri 'none'; form-action 'none'"
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>{body}"
        f"{'' if drawn is None else drawing}</body></html>\n"
    )
    return page.encode("utf-8", "replace").decode("utf-8")  # errors and answers may hold halves of surrogate pairs


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _answer(front: FrontDocument, model: str, directory: Path) -> str:
    """What to take of one model, how sure that is, and how to get it."""
    body = front.models[model]
    choice = body.choice
    if choice is None:
        return ""
    trial = next((one for one in body.trials if one.id == choice.trial), None)
    lines = [f'<p class="take">{escape(verdict(front, model))}</p>']
    if trial is not None:
        told = [*facts(choice), how_sure(choice), surer(choice, model)]
        if warned := warning(choice, model):
            lines.append(f'<p class="note">{escape(warned)}</p>')
        lines.append(_chips(trial.params, trial.arm))
        lines.append(f'<ul class="facts">{"".join(f"<li>{escape(text)}</li>" for text in told if text)}</ul>')
        lines.append(_command(export_command(directory, trial.id)))
    if body.verdict is not None:
        lines.append(f'<p class="verdict">{escape(body.verdict.sentence)}</p>')
    if body.steps is not None:
        lines.append(f"<p>{escape(body.steps.sentence)}</p>")
    rule = f"Rule: {escape(rule_in_words(choice))}. Another: <code>procon choose … --rule</code>"
    lines.append(f'<p class="quiet">{rule}</p>')
    state = "" if choice.keeps and not choice.doubtful else " nearest"
    return f'<article class="answer{state}"><h2>{escape(model)}</h2>{"".join(lines)}</article>'


def _card(found: ModelComparison, model: NormalisedModel) -> str:
    """What to take of one of several sweeps' models."""
    point = next((point for point in model.front if point.id == model.chosen), None)
    lines = [f'<p class="note">{escape(model.note)}</p>'] if model.note else []
    if model.chosen is not None:
        take = f"Take {model.chosen}" if model.kept else f"{model.chosen} comes nearest to the rule"
        lines.append(f'<p class="take">{escape(take)}</p>')
    if point is not None:
        lines.append(_chips(point.params))
        lines.append(f"<p>It regains {point.safety} of the lost safety and keeps {point.utility} of the task gain.</p>")
    if model.chosen is not None and model.sweep is not None:
        lines.append(_command(export_command(Path(model.sweep), model.chosen)))
    state = "" if model.kept else " nearest"
    return f'<article class="answer{state}"><h2>{escape(model.name)}</h2>{"".join(lines)}</article>'


def _chips(params: Mapping[str, Any], arm: str | None = None) -> str:
    parts = [*([arm] if arm else []), *settings(params).split(" · ")]
    chips = "".join(f"<li>{escape(part)}</li>" for part in parts if part)
    return f'<ul class="chips" aria-label="settings">{chips}</ul>'


def _command(command: str) -> str:
    return f'<div class="command"><code>{escape(command)}</code><button type="button">copy</button></div>'


def _model(place: int, panel: Panel, front: FrontDocument, drawn: Mapping[str, Any]) -> list[str]:
    found = [f"<h2>{escape(panel.model)}</h2>", f'<p class="quiet">{escape(panel.caption)}</p>']
    if panel.note:
        found.append(f'<p class="note">{escape(panel.note)}</p>')
    if panel.points and front.models[panel.model].choice is not None:
        found.append(f'<div class="rule" id="rule-{place}"></div>')
    if panel.points:
        found.append(
            f'<div class="model with-details"><div><div class="controls" id="controls-{place}"></div>'
            f'<p class="axis" id="up-{place}"></p><div class="chart" id="scatter-{place}"></div>'
            f'<div id="axes-{place}"></div></div>'
            f'<aside class="details" id="details-{place}" aria-live="polite">Choose a point or a row.</aside></div>'
        )
    if panel.of("front", "dominated", "infeasible"):
        found.append(f'<div class="beyond"><h3>Settings side by side</h3>{_LINKED}')
        found.append(f'<div class="chart" id="parallel-{place}"></div>')
        found.append(f'<p class="quiet" id="left-{place}" aria-live="polite"></p></div>')
    found.append(f'<h3>All trials</h3><div id="trials-{place}">{trials_table(front, panel.model)}</div>')
    found.append('<div class="beyond">')  # what a printed summary leaves out
    if drawn["surfaces"]:
        found.append(
            f'<h3>Between the trials</h3>{_SURFACE}<div class="controls" id="surface-controls-{place}"></div>'
            f'<div class="chart" id="surface-{place}"></div><div id="surface-below-{place}"></div>'
        )
    elif panel.of("front", "dominated", "infeasible"):
        found.append(
            f'<p class="quiet">What lies between the trials is drawn once {FEWEST} have finished that have numbers for '
            "two settings.</p>"
        )
    if any(figure["host"] == f"volume-{place}" for figure in drawn["figures"]):
        found.append(
            "<h3>How the front grew</h3>"
            '<p class="axis">↑ hypervolume on the report prompts, the searched seeds alone</p>'
            f'<div class="chart" id="volume-{place}"></div><p class="axis x">searched trials that had ended →</p>'
        )
    more = [section(front, panel.model) for section in SECTIONS]
    if panel.drift:
        more.append(
            "<h3>Drift of the refusal direction, by decoder layer</h3>"
            '<p class="axis">↑ cosine with the direction before training (1 is unmoved)</p>'
            f'<div class="chart" id="drift-{place}"></div><p class="axis x">decoder layer →</p>'
        )
    if any(point["drift"] for point in drawn["points"]):
        more.append(
            f'<h3>Drift by layer and step: <span id="heat-of-{place}"></span></h3>{_HEAT}'
            f'<div class="chart heat" id="heat-{place}"></div><div id="heat-below-{place}"></div>'
        )
    if panel.course:
        more.append(f"<h3>Over the course of training</h3>{_COURSE}{_course(place, panel)}")
    return [*found, *more, "</div>"]


def _course(place: int, panel: Panel) -> str:
    """Two figures beside each other, of what was measured."""
    found = []
    for host, title, values in (
        ("course-cosine", "cosine with the direction before training, mean over layers", "cosines"),
        ("course-odds", "log-odds of a refusal on harmful prompts", "log_odds"),
    ):
        if any(value is not None for line in panel.course for value in getattr(line, values)):
            found.append(
                f'<div><p class="axis">↑ {title}</p><div class="chart" id="{host}-{place}"></div>'
                '<p class="axis x">optimizer step →</p></div>'
            )
    return f'<div class="two">{"".join(found)}</div>'


def _how_to_read(data: PlotData, front: FrontDocument) -> str:
    rules = f" A trial must keep {escape(' and '.join(map(str, front.feasible)))}." if front.feasible else ""
    edge = " The line is the edge of what they attain" if len(front.objectives) == 2 else ""
    edge += " by the values shown." if edge and front.split else "." if edge else ""
    chosen = (
        " The front is chosen on the <i>select</i> prompts, which the search saw; the values shown are of the "
        "<i>report</i> prompts, so that they are not those of the luckiest. A hollow point is a member that another "
        "member beats, or that breaks a rule, on the report prompts."
        if front.split
        else " The prompts were not split: the front is chosen by the values shown, which flatters it."
    )
    return (
        f"<p>Every point is one fine-tuned model. <b>Better is {escape(data.better)}.</b> The front (large points) "
        f"holds the trials that no other trial beats on every objective.{rules}{chosen}{edge} Thin lines and brackets "
        f"are 95 % intervals over {_prompts(front)}. The axes follow the front: references that lie outside are marked "
        "at the edge with their values, and <i>show all</i> widens the view.</p>"
    )


def _prompts(front: FrontDocument) -> str:
    """What the intervals are made of, and whether the search saw it."""
    prompts = "held-out prompts" + (" that the search did not see" if front.split else "")
    return f"{prompts} (and training seeds, where a trial was repeated)" if front.repeated else f"{prompts} (Wilson)"
