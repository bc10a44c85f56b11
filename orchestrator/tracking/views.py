"""Named views of an experiment in MLflow's own run list: the front, the trainings, the drift (pure).

MLflow 3.15 and later keep shared views as tags of the experiment. Their content is the state of its page, not a public
interface: elsewhere than in the versions that were looked at in a browser no views are made, and nothing else is lost.
"""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeps.goals.objectives import Objective
from sweeps.schema.arms import CONSTRAINT, PLAIN
from sweeps.space.ranges import Choice, Range

if TYPE_CHECKING:
    from sweeps.schema.spec import SweepSpec

LOOKED_AT = ("3.15", "3.18")
"""From which version of MLflow on, and before which."""
PARETO, TRAINING, DRIFT, MODELS = "procon-pareto", "procon-training", "procon-drift", "procon-models"
TAG = "mlflow.sharedViewState."
TRIALS = "tags.`procon.trial` != ''"
PARENTS = "tags.`procon.kind` = 'parent'"
COMPARED = ("normalised/hypervolume", "normalised/safety_at_0.9", "normalised/safety_at_1")
"""Of parents, in their models' own units; only where a sweep has several models."""
RUNS = 100
"""Runs that a chart shows at most."""
TRAINED = ("train/loss", "train/penalty", "train/alpha", "train/gradient_norm")
DRIFTED = ("safety/refusal_log_odds", "utility/loss", "direction/cosine/{layer}", "direction/displacement/{layer}")
DEPTH = 0.6
"""How deep the layer lies whose drift is drawn, as a share of all: there a refusal direction is clear as a rule."""


SETTINGS = "settings and what came of them"
BOTH = "both arms: settings that all trials have"
CONSTRAINED = "constrained trials: their settings"


@dataclass(frozen=True)
class Shown:
    """What of a sweep its views show."""

    objectives: Sequence[Objective]
    """The first two span the plane of the front."""
    searched: Sequence[str]
    """Dotted names of the searched parameters."""
    layers: int
    """Decoder layers of the model."""
    parallel: Sequence[tuple[str, Sequence[str]]] = ()
    """Titles of the parallel coordinates and the parameters of each; none makes one chart of all that is searched."""


def parallel_charts(spec: "SweepSpec") -> list[tuple[str, list[str]]]:
    """Titles and parameters of the charts that show every trial of ``spec`` in one of them at least.

    A chart of MLflow leaves out runs that lack a parameter, so that with two arms one has what all trials have and one
    the constraint's; and where a parameter is a number for some and a word for others (20, ``all``), those that are
    fewer. Such a parameter is in no chart, but where there would be none.
    """
    arms = spec.ranges_by_arm
    names = {CONSTRAINT: SETTINGS} if len(arms) < 2 else {PLAIN: BOTH, CONSTRAINT: CONSTRAINED}
    found = []
    for arm, name in names.items():
        ranges = arms.get(arm, spec.ranges)
        alike = [path for path, searched in ranges.items() if _is_of_one_kind(searched)]
        found.append((name, alike or list(ranges)))
    return found


def _is_of_one_kind(searched: Range) -> bool:
    values = searched.values if isinstance(searched, Choice) else ()
    return len({isinstance(value, int | float) and not isinstance(value, bool) for value in values}) < 2


def are_known(version: str) -> bool:
    """Whether this version of MLflow keeps views the way that was looked at."""
    low, high = (tuple(map(int, bound.split("."))) for bound in LOOKED_AT)
    parts = version.split(".")[:2]
    return all(part.isdigit() for part in parts) and low <= tuple(map(int, parts)) < high


def page(base: str, experiment: str, view: str = PARETO) -> str:
    """The address that opens ``view`` of an experiment of the MLflow at ``base``; where it is not kept, all runs."""
    options = f"workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={view}"
    return f"{base}/#/experiments/{experiment}/runs?{options}"


def view_tags(shown: Shown, now: float) -> dict[str, str]:
    """The tags of an experiment that make its views, by name.

    Args:
        shown: what they show.
        now: seconds since the epoch, which MLflow's list of views shows.
    """
    drifted = [metric.format(layer=f"layer_{int(DEPTH * shown.layers):02}") for metric in DRIFTED]
    views = {
        PARETO: ("Pareto front", _front(shown)),
        TRAINING: ("Training", _curves(shown, TRAINED)),
        DRIFT: ("Drift", _curves(shown, drifted)),
        MODELS: ("Models compared", _models(shown)),
    }
    stamp = int(now * 1000)
    return {
        f"{TAG}{key}": json.dumps({"name": name, "createdAt": stamp, "updatedAt": stamp, "state": _packed(state)})
        for key, (name, state) in views.items()
    }


def _front(shown: Shown) -> dict[str, Any]:
    metrics = [objective.metric for objective in shown.objectives]
    charts: list[dict[str, Any]] = []
    if len(metrics) > 1:
        axes = {"xaxis": _axis(metrics[0]), "yaxis": _axis(metrics[1])}
        charts.append({**_chart("front", "SCATTER", f"{metrics[0]} and {metrics[1]}"), **axes})
    for place, (name, params) in enumerate(shown.parallel or [(SETTINGS, shown.searched)]):
        chosen = {"selectedParams": list(params), "selectedMetrics": metrics, "showAllRuns": True}
        charts.append({**_chart(f"settings-{place}", "PARALLEL", name), **chosen})
    return _state(shown, charts, "Pareto front")


def _charted(shown: Shown) -> list[str]:
    return [name for _, params in shown.parallel for name in params]


def _models(shown: Shown) -> dict[str, Any]:
    bars = [{**_chart(metric, "BAR", metric), "metricKey": metric} for metric in COMPARED]
    state = _state(shown, [*_lines(["front/hypervolume", "front/size"]), *bars], "by trials ended; own units")
    columns = [f"metrics.`{metric}`" for metric in ("front/hypervolume", "front/size", *COMPARED)]
    order = {"orderByKey": "metrics.`normalised/hypervolume`", "orderByAsc": False}
    return {**state, **order, "searchFilter": PARENTS, "selectedColumns": ["tags.`procon.model`", *columns]}


def _curves(shown: Shown, metrics: Sequence[str]) -> dict[str, Any]:
    return _state(shown, _lines(metrics), "by optimizer step")


def _lines(metrics: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            **_chart(metric, "LINE", metric),
            "metricKey": metric,
            "selectedMetricKeys": [metric],
            "lineSmoothness": 0,
            "scaleType": "linear",
            "xAxisKey": "step",
            "xAxisScaleType": "linear",
            "selectedXAxisMetricKey": "",
            "range": {},
            "yAxisKey": "metric",
            "yAxisExpressions": [],
            "ignoreOutliers": False,
            "useGlobalXaxisKey": True,
            "useGlobalLineSmoothing": True,
        }
        for metric in metrics
    ]


def _axis(metric: str) -> dict[str, str]:
    return {"key": metric, "type": "METRIC"}


def _chart(uuid: str, kind: str, name: str) -> dict[str, Any]:
    return {
        "uuid": uuid,
        "type": kind,
        "displayName": name,
        "runsCountToCompare": RUNS,
        "metricSectionId": "procon",
        "deleted": False,
        "isGenerated": False,
    }


def _state(shown: Shown, charts: Sequence[Mapping[str, Any]], section: str) -> dict[str, Any]:
    first = shown.objectives[0]
    named = {"uuid": "procon", "name": section, "display": True, "isReordered": True, "columns": 2, "cardHeight": 480}
    return {
        "searchFilter": TRIALS,
        "orderByKey": f"metrics.`{first.metric}`",
        "orderByAsc": first.goal == "minimize",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [
            *(f"tags.`{tag}`" for tag in ("procon.model", "pareto", "procon.status")),
            *(f"metrics.`{objective.metric}`" for objective in shown.objectives),
            *(f"params.`{name}`" for name in dict.fromkeys([*shown.searched, *_charted(shown)])),
        ],
        "columnOrder": [],
        "columnWidths": {},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": list(charts),
        "compareRunSections": [{**named, "deleted": False, "isGenerated": False}],
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


def _packed(state: Mapping[str, Any]) -> str:
    """As the page writes it: deflated and in base 64."""
    return "deflate;" + base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
