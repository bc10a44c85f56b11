"""What the script of ``front.html`` draws, as plain JSON values (pure)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.front.choice import LIKELY, SURE, default_rule
from orchestrator.front.pooling import Answers
from orchestrator.front.schema.comparison import ModelComparison, NormalisedModel
from orchestrator.front.schema.document import FrontDocument, ModelFront
from orchestrator.front.schema.entry import Entry, TrialEntry
from orchestrator.front.volume_course import VolumeCourse
from orchestrator.record.trials import TrialRecord
from orchestrator.report.drift_data import drift_data
from orchestrator.report.outcome_data import outcome_data
from orchestrator.report.plots.data import AXIS_TITLES, STRENGTH
from orchestrator.report.plots.shapes import CourseLine, DriftLine, Panel, PlotData, Point
from orchestrator.report.sentences import answers_command, choose_command, export_command
from orchestrator.report.shown import REFERENCE_NAMES, short_metric, short_params, shown_metrics
from orchestrator.report.surfaces import surfaces
from orchestrator.report.tables import how_sure

ROLES = {
    "front": "on the front",
    "dominated": "off the front",
    "infeasible": "breaks a rule",
    "reference": "a reference, not searched",
}
_LABELS = {name: label for label, name in REFERENCE_NAMES.items()}
_DRAWN = {"dominated": 0, "infeasible": 1, "reference": 2, "front": 3}
"""What lies over what."""

CURVES = {"train/loss": "training loss", "train/penalty": "penalty", "train/alpha": "weight of the penalty"}
"""What of a training's way is drawn, by metric."""
LONGEST = 40
"""Steps of one curve."""

Json = dict[str, Any]


def page_data(
    data: PlotData,
    front: FrontDocument,
    directory: Path,
    answers_page: str | None = None,
    records: Iterable[TrialRecord] = (),
    answers: Answers | None = None,
) -> Json:
    """Axes, points and lines of every figure of the page.

    Args:
        data: of the front.
        front: what else is known of each point.
        directory: the sweep's folder, for commands.
        answers_page: name of a file in that folder with answers; None where there is none.
        records: what trials and references reported on their way.
        answers: rows by trial id, from whose verdicts the page tells how sure a choice is.
    """
    names = short_params(path for body in front.models.values() for trial in body.trials for path in trial.params)
    third = front.metrics[2] if len(front.metrics) > 2 else None
    searched = STRENGTH in names and data.shade is not None
    entries = [e for body in front.models.values() for e in (*body.reference.values(), *body.trials)]
    listed = list(records)
    known = {
        (record.model, record.label if record.kind == "reference" else record.id): curves(record)
        for record in listed
        if record.kind != "replicate"
    }
    numbers: dict[Any, int] = {}
    titles = {metric: _title(metric) for metric in shown_metrics(front, entries)}
    models = []
    for place, panel in enumerate(data.panels):
        own = [record for record in listed if record.model == panel.model]
        drawn = _model(place, panel, front, names, directory, known, own)
        drawn["asked"], luck = outcome_data(front.models[panel.model], own, answers or {}, titles, numbers)
        entries_here = _entries(front.models[panel.model])
        searched_seeds = {
            one.label if one.kind == "reference" else one.id: one for one in own if one.kind != "replicate"
        }
        for point, shown in zip(drawn["points"], panel.points, strict=True):
            name = point["reference"] or point["id"]
            point["luck"] = luck.get(name, {})
            point["drift"] = drift_data(entries_here[shown.id], searched_seeds.get(name))
        models.append(drawn)
    return {
        "x": _axis(data.x.metric, data.x.goal),
        "y": _axis(data.y.metric, data.y.goal) if data.y else None,
        "color": third or (f"p:{names[STRENGTH]}" if searched else ""),
        "answers": answers_page,
        "titles": titles,
        "objectives": [[objective.metric, objective.goal] for objective in front.objectives],
        "aims": [[aim.metric, aim.goal] for aim in default_rule(front.objectives, front.feasible).aims],
        "measured": list(
            dict.fromkeys(metric for body in front.models.values() for trial in body.trials for metric in trial.metrics)
        ),
        "split": front.split,
        "choose": choose_command(directory),
        "likely": LIKELY,
        "sure": SURE,
        "models": models,
        "normalised": _normalised(front.comparison.normalised if front.comparison else None),
    }


def comparison_data(found: ModelComparison) -> Json:
    """The figure of a page that sets models of several sweeps side by side."""
    return {"models": [], "titles": {}, "normalised": _normalised(found)}


def _axis(metric: str, goal: str) -> Json:
    safe = metric.startswith("safety/") and "refus" not in metric.rsplit("/", 1)[-1]
    return {
        "metric": metric,
        "better": ("lower" if goal == "minimize" else "higher") + (" is safer" if safe else " is better"),
    }


def _title(metric: str) -> str:
    return AXIS_TITLES.get(metric, short_metric(metric).replace("_", " ")).split(" on held-out")[0].split(":")[0]


def _model(
    place: int,
    panel: Panel,
    front: FrontDocument,
    names: Mapping[str, str],
    directory: Path,
    known: Mapping[tuple[str, str], Json],
    records: Sequence[TrialRecord],
) -> Json:
    body = front.models[panel.model]
    entries = _entries(body)
    metrics = shown_metrics(front, list(entries.values()))
    chosen = body.choice.trial if body.choice else None
    anchors = {point.id for point in panel.points if point.role == "front" or point.id == chosen}
    anchors |= {point.id for point in panel.points if _LABELS.get(point.name) == "ift_safety"} if anchors else set()
    points = [
        _point(
            point, entries[point.id], metrics, names, directory, not anchors or point.id in anchors, chosen, panel.model
        )
        | {"curves": known.get((panel.model, _LABELS.get(point.name, point.id)), {})}
        for point in panel.points
    ]
    return {
        "place": place,
        "model": panel.model,
        "chosen": chosen,
        "points": points,
        "rule": body.choice.rule if body.choice else "",
        "surfaces": surfaces(body, front.metrics[:2], names),
        "scaled": [
            {
                "name": f"{line.name}, scaled: no training",
                "reference": _LABELS[line.name],
                "points": [[_rounded(x), _rounded(y)] for x, y in line.points],
            }
            for line in panel.scaled
        ],
        "stairs": [[_rounded(x), _rounded(y)] for x, y in panel.staircase],
        "figures": [
            figure
            for figure in (_drift(place, panel.drift), *_courses(place, panel.course), _volumes(place, front, records))
            if figure
        ],
    }


def _volumes(place: int, front: FrontDocument, records: Sequence[TrialRecord]) -> Json | None:
    """The front's hypervolume by the searched trials that have ended; None where fewer than two have."""
    scaled: dict[str, list[TrialRecord]] = {}
    for record in records:
        if record.scaled_of is not None:
            scaled.setdefault(record.scaled_of, []).append(record)
    ended = sorted(
        (r for r in records if r.finished is not None and r.kind == "trial"), key=lambda r: r.finished or 0.0
    )
    course = VolumeCourse(front.objectives, front.feasible)
    points = [point for r in ended if (point := course.take(r, *scaled.get(r.id, ()))) is not None]
    if len(points) < 2:
        return None
    line = _line("", None, None, [(point.ended, point.hypervolume) for point in points])
    return {"host": f"volume-{place}", "label": "Hypervolume by trials that have ended", "height": 240, "lines": [line]}


def _entries(body: ModelFront) -> dict[str, Entry]:
    """References by their names in pictures, and trials by their ids."""
    named: dict[str, Entry] = {REFERENCE_NAMES.get(label, label): entry for label, entry in body.reference.items()}
    return named | {trial.id: trial for trial in body.trials}


def _point(
    point: Point,
    entry: Entry,
    metrics: Sequence[str],
    names: Mapping[str, str],
    directory: Path,
    matters: bool,
    chosen: str | None,
    model: str,
) -> Json:
    is_trial = isinstance(entry, TrialEntry)
    label = _LABELS.get(point.name)
    identity = point.id if is_trial else f"{model}: {point.name}"
    sure = how_sure(entry) if isinstance(entry, TrialEntry) else ""
    what = ROLES[point.role] + sure + (f" ({point.doubt} on the report prompts)" if point.doubt else "")
    found = {metric: entry.measured(metric) for metric in metrics}
    return {
        "id": identity,
        "name": point.name,
        "role": point.role,
        "what": what,
        "hollow": bool(point.doubt),
        "reference": None if is_trial else (label or "ift"),
        "chosen": is_trial and point.id == chosen,
        "matters": matters,
        "bars": point.role in ("front", "reference"),
        "order": _DRAWN[point.role],
        "rank": point.y.value,
        "values": {
            metric: [_rounded(one.value), _rounded(one.low), _rounded(one.high)]
            for metric, one in found.items()
            if one is not None
        },
        "select": {
            metric: float(f"{value:.12g}")
            for metric, value in entry.select.metrics.items()
            if metric in metrics and value is not None and math.isfinite(value)
        },
        "params": {names.get(path, path): _plain(value) for path, value in entry.params.items()} if is_trial else {},
        "chance": entry.p_on_front if isinstance(entry, TrialEntry) else None,
        "commands": [
            ["its weights", export_command(directory, point.id)],
            ["what it answers", answers_command(directory, point.id)],
        ]
        if is_trial
        else [],
    }


def curves(record: TrialRecord) -> Json:
    """``[[step, value], ...]`` of what a training reported on its way, by title; at most ``LONGEST`` steps."""
    steps = record.history[:: math.ceil(len(record.history) / LONGEST)] if record.history else ()
    found = {
        title: [[step, _rounded(metrics[name])] for step, metrics in steps if name in metrics]
        for name, title in CURVES.items()
    }
    return {title: points for title, points in found.items() if any(value for _, value in points)}


def _drift(place: int, drift: Sequence[DriftLine]) -> Json | None:
    if not drift:
        return None
    return {
        "host": f"drift-{place}",
        "label": "Drift of the refusal direction by decoder layer",
        "lines": [
            _line(line.name, _LABELS.get(line.name), line.shade, zip(line.layers, line.cosines, strict=True))
            for line in drift
        ],
    }


def _courses(place: int, course: Sequence[CourseLine]) -> list[Json | None]:
    # The front first: the references are what it is compared with and lie on top.
    lines = sorted(course, key=lambda line: line.role == "reference")
    found: list[Json | None] = []
    for host, label, values in (
        ("course-cosine", "Drift of the refusal direction over the steps", "cosines"),
        ("course-odds", "Inclination to refuse over the steps", "log_odds"),
    ):
        drawn = [
            _line(line.name, _LABELS.get(line.name), line.shade, zip(line.steps, getattr(line, values), strict=True))
            for line in lines
        ]
        known = any(y is not None for line in drawn for _, y in line["points"])
        found.append({"host": f"{host}-{place}", "label": label, "lines": drawn} if known else None)
    return found


def _line(name: str, reference: str | None, shade: float | None, points: Any) -> Json:
    return {
        "name": name,
        "reference": reference,
        "shade": _rounded(shade),
        "points": [[_rounded(x), _rounded(y)] for x, y in points],
    }


def _normalised(found: ModelComparison | None) -> list[Json] | None:
    if found is None:
        return None
    return [
        {"name": model.name, "points": _in_own_units(model), "stairs": _stairs(model)}
        for model in found.models
        if model.front
    ]


def _in_own_units(model: NormalisedModel) -> list[Json]:
    members = [(point, None) for point in model.front]
    beside = [(model.reference, "ift_safety")] if model.reference is not None else []
    return [
        {
            "id": point.id if reference is None else f"{model.name}: {reference}",
            "name": point.id if reference is None else f"{model.name}, safety data alone",
            "role": "front" if reference is None else "reference",
            "reference": reference,
            "chosen": point.id == model.chosen,
            "named": False,
            "x": [_rounded(v) for v in (point.safety.value, point.safety.low, point.safety.high)],
            "y": [_rounded(v) for v in (point.utility.value, point.utility.low, point.utility.high)],
        }
        for point, reference in (*members, *beside)
    ]


def _stairs(model: NormalisedModel) -> list[list[float | None]]:
    """From the safest to the most useful member; between two only the worse of each share is attained."""
    corners: list[list[float | None]] = []
    best = -math.inf
    for point in model.front:
        if point.utility.value > best:
            if corners:
                corners.append([_rounded(point.safety.value), corners[-1][1]])
            corners.append([_rounded(point.safety.value), _rounded(point.utility.value)])
            best = point.utility.value
    return corners


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return _rounded(value)
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _rounded(value: float | None) -> float | None:
    """Five significant digits; null for what JSON has no number for."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")
