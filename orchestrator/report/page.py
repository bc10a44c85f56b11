"""``front.html``: one self-contained page (plotly inlined, nothing loaded from elsewhere)."""

import re
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

from orchestrator.front.schema.document import FrontDocument
from orchestrator.record.atomic import write_text
from orchestrator.report.comparisons import judges_section, parts_section, versus_section
from orchestrator.report.explanations import importance_section, notes_section, prediction_section
from orchestrator.report.plots.interactive import comparison, course, drift, scatter
from orchestrator.report.plots.shapes import PlotData
from orchestrator.report.tables import comparison_table, front_table, reference_table

STYLE = """
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: #1f2933;
       margin: 2rem auto; max-width: 1360px; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 }
h2 { font-size: 1.2rem; margin: 2.2rem 0 0 }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem }
p { margin: .3rem 0; max-width: 62rem } .quiet { color: #5b6672 } .note { background: #fff4e5; padding: .6rem .9rem }
.panels { display: flex; flex-wrap: wrap; gap: 12px } .scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #e4e8ec; white-space: nowrap }
th { vertical-align: bottom; white-space: normal; max-width: 7.5rem }
td.number, th.number { text-align: right } td small { color: #5b6672 }
.bar { display: inline-block; height: .7rem; margin-right: .4rem; background: #0072B2 }
.bar.pale { background: #c9d0d7 }
ul.note { margin: .3rem 0; max-width: 60rem; padding-left: 2rem }
"""

_COURSE = (
    "<p>How far the refusal direction, extracted anew, has turned from that of the untouched model, and how likely the "
    "model is to begin its answer to a harmful prompt with a refusal (dotted: as likely as not). Measured without "
    "generation, on the prompts that the search may see. Drift is not behaviour: read both.</p>"
)

_SCRIPT = re.compile("<script[^>]*>(.*?)</script>", re.DOTALL)

SECTIONS = (versus_section, parts_section, judges_section, importance_section, prediction_section)
"""What stands below the front and the references of a model, where there is something to show."""


def write_html(data: PlotData, front: FrontDocument, path: Path) -> None:
    """Write the page of ``data`` with the tables of ``front`` to ``path``."""
    from plotly.offline import get_plotlyjs

    library, figures = get_plotlyjs(), Figures()
    several = len(data.panels) > 1
    body = [f"<h1>{escape(data.name)}: Pareto front of the fine-tuning trials</h1>", _how_to_read(data, front)]
    body.append(notes_section(front))
    if several:
        body += ["<h2>The models' fronts compared</h2>", figures.drawn(comparison(data)), comparison_table(front)]
    for panel in data.panels:
        body += [f"<h2>{escape(panel.model)}</h2>", f'<p class="quiet">{escape(panel.caption)}</p>']
        if panel.note:
            body.append(f'<p class="note">{escape(panel.note)}</p>')
        moved = figures.drawn(drift(data.shade, panel)) if panel.drift else ""
        body.append(f'<div class="panels"><div>{figures.drawn(scatter(data, panel))}</div><div>{moved}</div></div>')
        if panel.course:
            body += ["<h3>Over the course of training</h3>", _COURSE, figures.drawn(course(data.shade, panel))]
        body += ["<h3>The front</h3>", front_table(front, panel.model)]
        body += ["<h3>References</h3>", reference_table(front, panel.model)]
        body += [section(front, panel.model) for section in SECTIONS]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy([library, *figures.scripts])}">'
        f"<title>{escape(data.name)}: Pareto front</title>"
        f"<style>{STYLE}</style><script>{library}</script></head><body>{''.join(body)}</body></html>\n"
    )
    write_text(path, page)


class Figures:
    """The figures of a page as pieces of it, whose head carries plotly itself."""

    def __init__(self) -> None:
        self.scripts: list[str] = []
        """What they run."""

    def drawn(self, figure: Any) -> str:
        """``figure`` as a piece of the page."""
        config = {"displaylogo": False, "displayModeBar": False}
        piece = str(figure.to_html(full_html=False, include_plotlyjs=False, config=config))
        self.scripts += _SCRIPT.findall(piece)  # plotly writes "<" of a text as \\u003c, so that none ends a script
        return piece


def _policy(scripts: Iterable[str]) -> str:
    """A Content-Security-Policy under which the page runs ``scripts`` alone and asks nobody for anything."""
    hashes = {f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" for script in scripts}
    return (
        f"default-src 'none'; script-src {' '.join(sorted(hashes))}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _how_to_read(data: PlotData, front: FrontDocument) -> str:
    rules = f" A trial must keep {escape(' and '.join(map(str, front.feasible)))}." if front.feasible else ""
    shade = f" Colour is {escape(data.shade.title)}." if data.shade else ""
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
        f"holds the trials that no other trial beats on every objective.{rules}{chosen}{edge} Thin lines are "
        f"95 % intervals over {_prompts(front)}.{shade} Hover over a point for its settings and measurements.</p>"
    )


def _prompts(front: FrontDocument) -> str:
    """What the intervals are made of, and whether the search saw it."""
    prompts = "held-out prompts" + (" that the search did not see" if front.split else "")
    return f"{prompts} (and training seeds, where a trial was repeated)" if front.repeated else f"{prompts} (Wilson)"
