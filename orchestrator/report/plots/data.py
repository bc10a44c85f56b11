"""What the plots of a front show, computed from the front before anything is drawn (pure)."""

import math
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.front.entries import COSINE as MEAN_COSINE
from orchestrator.front.schema.document import FrontDocument, ModelFront
from orchestrator.front.schema.entry import Entry, TrialEntry
from orchestrator.front.schema.values import Measured
from orchestrator.record.trials import Status
from orchestrator.report.plots.shapes import (
    Axis,
    CourseLine,
    DriftLine,
    Panel,
    PlotData,
    Point,
    Role,
    ScaleLine,
    Shade,
)
from orchestrator.report.shown import REFERENCE_NAMES, format_value, reference_name, short_id, short_params
from sweeps.goals.metrics import is_rate
from sweeps.goals.objectives import Objective

STRENGTH = "constraint.alpha"
COSINE = "direction/cosine/layer_"
AXIS_TITLES = {
    "safety/attack_success_rate": "attack success rate on held-out harmful prompts",
    "safety/mean_attack_success_rate": "attack success rate, mean over harmful sets and attacks",
    "safety/compliance_rate": "compliance rate on held-out harmful prompts",
    "safety/over_refusal": "over-refusal: refused share of borderline but safe prompts",
    "safety/harmless_refused": "refused share of harmless prompts",
    "safety/refusal_log_odds": "refusal log-odds on held-out harmful prompts",
    "utility/accuracy": "task accuracy on held-out samples",
    "utility/loss": "task loss on held-out samples",
}
CHOSEN = "chosen on select prompts, shown by report prompts"
_SAFER = "safety/"


def plot_data(name: str, front: FrontDocument) -> PlotData:
    """What the plots show of the front of the sweep ``name``."""
    objectives = front.objectives
    entries = [entry for body in front.models.values() for entry in (*body.reference.values(), *body.trials)]
    x = _axis(objectives[0], entries)
    y = _axis(objectives[1], entries) if len(objectives) > 1 else None
    third = objectives[2].metric if len(objectives) > 2 else None
    shade = _shade(third, entries)
    shaded_by = None if shade is None else (third or STRENGTH)
    panels = tuple(
        _panel(model, body, objectives, shaded_by, split=front.split) for model, body in front.models.items()
    )
    return PlotData(name, x, y, shade, panels)


def _axis(objective: Objective, entries: Sequence[Entry]) -> Axis:
    metric, goal = objective.metric, objective.goal
    word = ("lower" if goal == "minimize" else "higher") + (" is safer" if metric.startswith(_SAFER) else " is better")
    if metric in ("safety/over_refusal", "safety/harmless_refused"):  # refusing safe prompts is no safety
        word = word.replace("safer", "better")
    found = [e for e in (entry.measured(metric) for entry in entries) if e]
    ends = [v for e in found for v in (e.value, e.low, e.high) if v is not None and math.isfinite(v)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    pad = 0.06 * (high - low) or 0.05 * (abs(high) or 1.0)
    low, high = low - pad, high + pad
    if is_rate(metric):
        low, high = max(low, -0.04), min(high, 1.04)
    return Axis(metric, f"{AXIS_TITLES.get(metric, metric)} ({word})", goal, low, high)


def _shade(third: str | None, entries: Iterable[Entry]) -> Shade | None:
    """Colour is the third objective, else the constraint's strength where that is searched, else nothing."""
    found = [v for v in (_shade_value(entry, third or STRENGTH) for entry in entries) if v is not None]
    if third is None:
        found = [value for value in found if value > 0]  # the references' alpha is 0, which has no place on a log scale
    if not found or (third is None and len(set(found)) < 2):
        return None
    low, high = min(found), max(found)
    log = third is None and high / low > 5
    title = AXIS_TITLES.get(third, third) if third else "constraint strength alpha"
    return Shade(title + (", log scale" if log else ""), low, high, log)


def _shade_value(entry: Entry, name: str) -> float | None:
    value = entry.params.get(name, entry.metrics.get(name))
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else None


def _panel(
    model: str, body: ModelFront, objectives: Sequence[Objective], shaded_by: str | None, *, split: bool
) -> Panel:
    metrics = [objective.metric for objective in objectives]
    names = short_params(path for trial in body.trials for path in trial.params)
    measured = [
        (entry, role, label)
        for entry, role, label in _roles(model, body)
        if all(entry.measured(metric) for metric in metrics)
    ]
    if len(metrics) == 1:
        sign = 1 if objectives[0].goal == "minimize" else -1
        measured.sort(key=lambda item: -sign * _known(item[0], metrics[0]).value)
    points = tuple(
        Point(
            id=entry.id if isinstance(entry, TrialEntry) else label,
            name=label,
            role=role,
            x=_known(entry, metrics[0]),
            y=_known(entry, metrics[1]) if len(metrics) > 1 else Measured(float(rank)),
            shade=_positive(entry, shaded_by, role) if shaded_by else None,
            details=_details(entry, role, metrics, names),
            doubt=entry.doubt if isinstance(entry, TrialEntry) and role == "front" else "",
        )
        for rank, (entry, role, label) in enumerate(measured)
    )
    drift = [_drift(entry, role, label, shaded_by) for entry, role, label in _roles(model, body)]
    edge = [point for point in points if point.role == "front" and not point.doubt]
    stairs = _staircase(edge, objectives) if len(metrics) == 2 else ()
    caption = _caption(body) + (f" · {CHOSEN}" if split else "")
    course = _courses(model, body, shaded_by)
    return Panel(
        model, caption, body.note, points, stairs, tuple(line for line in drift if line), course, _scaled(body, metrics)
    )


def _roles(model: str, body: ModelFront) -> list[tuple[Entry, Role, str]]:
    """References and finished trials, with the role of each and its short name."""
    found: list[tuple[Entry, Role, str]] = [
        (entry, "reference", REFERENCE_NAMES.get(label, label)) for label, entry in body.reference.items()
    ]
    for trial in body.trials:
        if trial.status is Status.FINISHED:
            role: Role = "front" if trial.on_front else "dominated" if trial.feasible else "infeasible"
            found.append((trial, role, short_id(trial.id, model)))
    return found


def _scaled(body: ModelFront, metrics: Sequence[str]) -> tuple[ScaleLine, ...]:
    """Of every reference with scaled models, where there are two objectives."""
    if len(metrics) < 2:
        return ()
    found = []
    for label, trained in body.reference.items():
        between = {
            float(name.partition("@")[2]): entry
            for name, entry in (body.scaled_references or {}).items()
            if name.partition("@")[0] == label
        }
        if not between:
            continue
        line = {**({0.0: body.reference["base"]} if "base" in body.reference else {}), 1.0: trained, **between}
        values = [[entry.metrics.get(metric) for metric in metrics[:2]] for _, entry in sorted(line.items())]
        points = tuple((x, y) for x, y in values if x is not None and y is not None)
        found.append(ScaleLine(reference_name(label), points))
    return tuple(found)


def _known(entry: Entry, metric: str) -> Measured:
    found = entry.measured(metric)
    assert found is not None
    return found


def _positive(entry: Entry, shaded_by: str, role: Role) -> float | None:
    value = _shade_value(entry, shaded_by)
    if role == "reference" or value is None or (shaded_by == STRENGTH and value <= 0):
        return None
    return value


def _details(
    entry: Entry, role: Role, objectives: Sequence[str], names: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    others = [m for m in entry.metrics if m.startswith(("safety/", "utility/")) and m not in objectives]
    found = [(m, str(_known(entry, m))) for m in (*objectives, *others) if entry.measured(m)]
    searched = [(names.get(path, path), format_value(value)) for path, value in entry.params.items()]
    told = []
    if isinstance(entry, TrialEntry) and entry.p_on_front is not None:
        told.append(("probability on the front", f"{entry.p_on_front:.2f}"))
    if isinstance(entry, TrialEntry) and role == "front" and entry.doubt:
        told.append(("on the report prompts", entry.doubt))
    return (*searched, *found, *told)


def _drift(entry: Entry, role: Role, label: str, shaded_by: str | None) -> DriftLine | None:
    """Only references and front trials: everything else would bury them."""
    measured = {int(m.removeprefix(COSINE)): v for m, v in entry.metrics.items() if m.startswith(COSINE)}
    cosines = {layer: value for layer, value in measured.items() if value is not None}
    layers = tuple(sorted(cosines))
    if not layers or role not in ("reference", "front"):
        return None
    shade = _positive(entry, shaded_by, role) if shaded_by else None
    return DriftLine(label, role, layers, tuple(cosines[layer] for layer in layers), shade)


def _courses(model: str, body: ModelFront, shaded_by: str | None) -> tuple[CourseLine, ...]:
    """Of the references that are trained and the front; all begin with the untouched model."""
    base = body.reference.get("base")
    untouched = (base and base.course) or ()
    found = []
    for entry, role, label in _roles(model, body):
        points = [*untouched, *(point for point in entry.course or () if point.step > 0)]
        if role not in ("reference", "front") or len(points) < 2 or points[-1].step == 0:
            continue
        cosines, log_odds = (
            tuple(point.metrics.get(name) for point in points) for name in (MEAN_COSINE, "safety/refusal_log_odds")
        )
        shade = _positive(entry, shaded_by, role) if shaded_by else None
        found.append(CourseLine(label, role, tuple(point.step for point in points), cosines, log_odds, shade))
    return tuple(found)


def _staircase(front: Sequence[Point], objectives: Sequence[Objective]) -> tuple[tuple[float, float], ...]:
    """From the best x to the best y: between two members only the worse value of each is attained."""
    sign = 1 if objectives[0].goal == "minimize" else -1
    corners: list[tuple[float, float]] = []
    for point in sorted(front, key=lambda p: sign * p.x.value):
        if corners:
            corners.append((point.x.value, corners[-1][1]))
        corners.append((point.x.value, point.y.value))
    return tuple(corners)


def _caption(body: ModelFront) -> str:
    trials, infeasible = body.searched, len(body.infeasible)
    statuses = [trial.status.lower() for trial in trials]
    tally = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(sorted(statuses)))
    scaled = len(body.trials) - len(trials)
    parts = [
        f"{len(trials)} searched trials ({tally})" if trials else "no searched trial",
        *([f"{scaled} scaled"] if scaled else []),
        *([f"{infeasible} of them infeasible"] if infeasible else []),
        f"front of {len(body.members)}",
        f"hypervolume {body.hypervolume:.3f}",
    ]
    return " · ".join(parts)
