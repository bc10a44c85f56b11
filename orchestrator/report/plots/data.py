"""What the plots of a front show, computed from ``front.json`` before anything is drawn (pure)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.front.entries import COSINE as MEAN_COSINE
from orchestrator.front.entries import unconfirmed
from orchestrator.report.plots.shapes import Axis, CourseLine, DriftLine, Estimate, Panel, PlotData, Point, Role, Shade
from sweeps.goals.metrics import is_rate

STRENGTH = "constraint.alpha"
COSINE = "direction/cosine/layer_"
REFERENCE_NAMES = {
    "base": "base model",
    "ift": "plain fine-tuning",
    "ift_safety": "fine-tuning + safety data",
}
"""What the reference points are called in a picture."""
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


def plot_data(name: str, front: Mapping[str, Any]) -> PlotData:
    """What the plots show of the ``front.json`` document ``front`` of the sweep ``name``."""
    objectives = front["objectives"]
    entries = [e for model in front["models"].values() for e in (*model["reference"].values(), *model["trials"])]
    x = _axis(objectives[0], entries)
    y = _axis(objectives[1], entries) if len(objectives) > 1 else None
    third = objectives[2]["metric"] if len(objectives) > 2 else None
    shade = _shade(third, entries)
    shaded_by = None if shade is None else (third or STRENGTH)
    split = front["chosen_on"] == "select"
    panels = tuple(_panel(model, body, objectives, shaded_by, split=split) for model, body in front["models"].items())
    return PlotData(name, x, y, shade, panels)


def estimate(entry: Mapping[str, Any], metric: str) -> Estimate | None:
    """The measured ``metric`` of a trial or reference of ``front.json``; none where it was not measured."""
    value = entry["metrics"].get(metric)
    return None if value is None else Estimate(value, *entry["intervals"].get(metric, ()))


def short_params(params: Iterable[str]) -> dict[str, str]:
    """Dotted paths and the shortest endings that still tell them apart (``constraint.alpha`` -> ``alpha``)."""
    paths = list(dict.fromkeys(params))
    shortened: dict[str, str] = {}
    for path in paths:
        parts = path.split(".")
        endings = (".".join(parts[-length:]) for length in range(1, len(parts) + 1))
        shortened[path] = next(
            (e for e in endings if sum(p == e or p.endswith(f".{e}") for p in paths) == 1),
            path,
        )
    return shortened


def short_id(trial: str, model: str) -> str:
    """The id of a trial without its model's name, which the panel's heading already gives."""
    rest = trial.removeprefix(model).lstrip("-_./")
    return rest or trial


def format_value(value: Any) -> str:
    """A parameter's value for people: three significant digits, no quotes."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _axis(objective: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> Axis:
    metric, goal = objective["metric"], objective["goal"]
    word = ("lower" if goal == "minimize" else "higher") + (" is safer" if metric.startswith(_SAFER) else " is better")
    if metric in ("safety/over_refusal", "safety/harmless_refused"):  # refusing safe prompts is no safety
        word = word.replace("safer", "better")
    found = [e for e in (estimate(entry, metric) for entry in entries) if e]
    ends = [v for e in found for v in (e.value, e.low, e.high) if v is not None and math.isfinite(v)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    pad = 0.06 * (high - low) or 0.05 * (abs(high) or 1.0)
    low, high = low - pad, high + pad
    if is_rate(metric):
        low, high = max(low, -0.04), min(high, 1.04)
    return Axis(metric, f"{AXIS_TITLES.get(metric, metric)} ({word})", goal, low, high)


def _shade(third: str | None, entries: Sequence[Mapping[str, Any]]) -> Shade | None:
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


def _shade_value(entry: Mapping[str, Any], name: str) -> float | None:
    value = entry["params"].get(name, entry["metrics"].get(name))
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else None


def _panel(
    model: str, body: Mapping[str, Any], objectives: Sequence[Mapping[str, Any]], shaded_by: str | None, *, split: bool
) -> Panel:
    metrics = [objective["metric"] for objective in objectives]
    names = short_params(path for trial in body["trials"] for path in trial["params"])
    measured = [
        (entry, role, label)
        for entry, role, label in _roles(model, body)
        if all(estimate(entry, metric) for metric in metrics)
    ]
    if len(metrics) == 1:
        sign = 1 if objectives[0]["goal"] == "minimize" else -1
        measured.sort(key=lambda item: -sign * item[0]["metrics"][metrics[0]])
    points = tuple(
        Point(
            id=entry.get("id", label),
            name=label,
            role=role,
            x=_known(entry, metrics[0]),
            y=_known(entry, metrics[1]) if len(metrics) > 1 else Estimate(float(rank)),
            shade=_positive(entry, shaded_by, role) if shaded_by else None,
            details=_details(entry, role, metrics, names),
            doubt=unconfirmed(entry) if role == "front" else "",
        )
        for rank, (entry, role, label) in enumerate(measured)
    )
    drift = [_drift(entry, role, label, shaded_by) for entry, role, label in _roles(model, body)]
    edge = [point for point in points if point.role == "front" and not point.doubt]
    stairs = _staircase(edge, objectives) if len(metrics) == 2 else ()
    caption = _caption(body) + (f" · {CHOSEN}" if split else "")
    course = _courses(model, body, shaded_by)
    return Panel(model, caption, body.get("note"), points, stairs, tuple(line for line in drift if line), course)


def _roles(model: str, body: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Role, str]]:
    found: list[tuple[Mapping[str, Any], Role, str]] = [
        (entry, "reference", REFERENCE_NAMES.get(label, label)) for label, entry in body["reference"].items()
    ]
    for trial in body["trials"]:
        if trial["status"] == "FINISHED":
            role: Role = "front" if trial["on_front"] else "dominated" if trial["feasible"] else "infeasible"
            found.append((trial, role, short_id(trial["id"], model)))
    return found


def _known(entry: Mapping[str, Any], metric: str) -> Estimate:
    found = estimate(entry, metric)
    assert found is not None
    return found


def _positive(entry: Mapping[str, Any], shaded_by: str, role: Role) -> float | None:
    value = _shade_value(entry, shaded_by)
    if role == "reference" or value is None or (shaded_by == STRENGTH and value <= 0):
        return None
    return value


def _details(
    entry: Mapping[str, Any], role: Role, objectives: Sequence[str], names: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    others = [m for m in entry["metrics"] if m.startswith(("safety/", "utility/")) and m not in objectives]
    found = [(m, str(_known(entry, m))) for m in (*objectives, *others) if estimate(entry, m)]
    searched = [(names.get(path, path), format_value(value)) for path, value in entry["params"].items()]
    probability = entry.get("p_on_front")
    sure = [] if probability is None or role == "reference" else [("probability on the front", f"{probability:.2f}")]
    doubt = unconfirmed(entry) if role == "front" else ""
    return (*searched, *found, *sure, *([("on the report prompts", doubt)] if doubt else []))


def _drift(entry: Mapping[str, Any], role: Role, label: str, shaded_by: str | None) -> DriftLine | None:
    """Only references and front trials: everything else would bury them."""
    cosines = {int(m.removeprefix(COSINE)): v for m, v in entry["metrics"].items() if m.startswith(COSINE)}
    layers = tuple(sorted(layer for layer, value in cosines.items() if value is not None))
    if not layers or role not in ("reference", "front"):
        return None
    shade = _positive(entry, shaded_by, role) if shaded_by else None
    return DriftLine(label, role, layers, tuple(cosines[layer] for layer in layers), shade)


def _courses(model: str, body: Mapping[str, Any], shaded_by: str | None) -> tuple[CourseLine, ...]:
    """Of the references that are trained and the front; all begin with the untouched model."""
    untouched = body["reference"].get("base", {}).get("course", [])
    found = []
    for entry, role, label in _roles(model, body):
        points = [*untouched, *(point for point in entry.get("course", ()) if point["step"] > 0)]
        if role not in ("reference", "front") or len(points) < 2 or points[-1]["step"] == 0:
            continue
        cosines, log_odds = (
            tuple(point["metrics"].get(name) for point in points) for name in (MEAN_COSINE, "safety/refusal_log_odds")
        )
        shade = _positive(entry, shaded_by, role) if shaded_by else None
        found.append(CourseLine(label, role, tuple(point["step"] for point in points), cosines, log_odds, shade))
    return tuple(found)


def _staircase(front: Sequence[Point], objectives: Sequence[Mapping[str, Any]]) -> tuple[tuple[float, float], ...]:
    """From the best x to the best y: between two members only the worse value of each is attained."""
    sign = 1 if objectives[0]["goal"] == "minimize" else -1
    corners: list[tuple[float, float]] = []
    for point in sorted(front, key=lambda p: sign * p.x.value):
        if corners:
            corners.append((point.x.value, corners[-1][1]))
        corners.append((point.x.value, point.y.value))
    return tuple(corners)


def _caption(body: Mapping[str, Any]) -> str:
    trials = body["trials"]
    statuses = [trial["status"].lower() for trial in trials]
    tally = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(sorted(statuses)))
    infeasible = sum(trial["feasible"] is False for trial in trials)
    parts = [
        f"{len(trials)} searched trials ({tally})" if trials else "no searched trial",
        *([f"{infeasible} of them infeasible"] if infeasible else []),
        f"front of {sum(trial['on_front'] for trial in trials)}",
        f"hypervolume {body['hypervolume']:.3f}",
    ]
    return " · ".join(parts)
