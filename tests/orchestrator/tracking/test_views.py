"""What an experiment looks like in MLflow: its views, the names and the colours of its runs."""

import base64
import json
import zlib
from typing import Any

import pytest
from front_samples import OBJECTIVES, record

from orchestrator.tracking.looks import flat, run_color, run_name, settings_of
from orchestrator.tracking.views import DRIFT, PARETO, TAG, TRAINING, Shown, are_known, page, parallel_charts, view_tags
from sweeps.schema.load import load_spec

SHOWN = Shown(OBJECTIVES, ["constraint.alpha", "constraint.layers"], layers=32)


def state(tag: str) -> tuple[str, dict[str, Any]]:
    view = json.loads(tag)
    kind, _, packed = view["state"].partition(";")
    assert kind == "deflate"
    return view["name"], json.loads(zlib.decompress(base64.b64decode(packed)))


def test_the_front_is_a_scatter_of_the_objectives_and_a_line_a_trial_over_its_settings() -> None:
    name, view = state(view_tags(SHOWN, 1.0)[f"{TAG}{PARETO}"])
    scatter, parallel = view["compareRunCharts"]
    first, second = (objective.metric for objective in OBJECTIVES)
    assert (name, scatter["type"], parallel["type"]) == ("Pareto front", "SCATTER", "PARALLEL")
    assert (scatter["xaxis"]["key"], scatter["yaxis"]["key"]) == (first, second)
    assert parallel["selectedParams"] == ["constraint.alpha", "constraint.layers"]
    assert parallel["selectedMetrics"] == [first, second]
    assert "params.`constraint.alpha`" in view["selectedColumns"]
    assert (view["orderByKey"], view["orderByAsc"]) == (f"metrics.`{first}`", OBJECTIVES[0].goal == "minimize")


def test_with_two_arms_one_chart_has_what_all_trials_have_and_one_the_constraint() -> None:
    charts = parallel_charts(load_spec("demo", []))
    assert [params for _, params in charts] == [
        ["safety_share", "learning_rate", "steps"],
        ["constraint.alpha", "constraint.layers", "safety_share"],  # warmup_steps are numbers and words
    ]
    _, view = state(view_tags(Shown(OBJECTIVES, SHOWN.searched, 32, charts), 1.0)[f"{TAG}{PARETO}"])
    _, both, constrained = view["compareRunCharts"]
    assert [both["selectedParams"], constrained["selectedParams"]] == [params for _, params in charts]
    assert both["uuid"] != constrained["uuid"]
    assert "params.`learning_rate`" in view["selectedColumns"]
    assert len(parallel_charts(load_spec("demo", ["arms=[constraint]"]))) == 1


def test_settings_that_have_no_effect_are_no_parameters() -> None:
    constrained = {"steps": 5, "constraint": {"type": "procon", "alpha": 0.1, "layers": "all"}}
    plain = {"steps": 5, "constraint": {"type": "procon", "alpha": 0.0, "layers": "all"}}
    assert settings_of(constrained) == flat(constrained)
    assert settings_of(plain) == {"steps": 5, "constraint.alpha": 0.0}


def test_one_objective_needs_no_plane() -> None:
    _, view = state(view_tags(Shown(OBJECTIVES[:1], [], layers=4), 1.0)[f"{TAG}{PARETO}"])
    assert [chart["type"] for chart in view["compareRunCharts"]] == ["PARALLEL"]


@pytest.mark.parametrize(
    ("view", "metric"), [(TRAINING, "train/loss"), (DRIFT, "direction/cosine/layer_19"), (DRIFT, "utility/loss")]
)
def test_curves_go_by_optimizer_step(view: str, metric: str) -> None:
    _, kept = state(view_tags(SHOWN, 1.0)[f"{TAG}{view}"])
    (chart,) = [chart for chart in kept["compareRunCharts"] if chart["metricKey"] == metric]
    assert (chart["type"], chart["xAxisKey"]) == ("LINE", "step")


@pytest.mark.parametrize(
    ("version", "known"), [("3.14.2", False), ("3.15.0", True), ("3.17.2", True), ("3.18.0", False), ("4.0.0", False)]
)
def test_views_are_made_where_they_were_looked_at(version: str, known: bool) -> None:
    assert are_known(version) is known


def test_an_address_opens_the_front() -> None:
    assert page("http://h:5000", "7").startswith("http://h:5000/#/experiments/7/runs?")
    assert page("http://h:5000", "7").endswith(f"viewStateShareKey={PARETO}")


def test_runs_are_called_by_what_was_searched_or_what_they_are() -> None:
    trial = record("organism-011", 0.1, 0.9)
    settings = " · ".join(f"{path.rpartition('.')[2]} " for path in trial.params)
    assert run_name(trial, alone=True).startswith(f"011 · {settings.split(' · ')[0]}")
    assert run_name(trial, alone=False).startswith("organism · 011 · ")


def test_a_hue_a_model_and_pale_behind_the_front() -> None:
    first, second = (run_color("trial", "x", place) for place in (0, 1))
    pale = run_color("trial", "x", 0, pale=True)
    assert len({first, second, pale}) == 3
    assert all(int(pale[at : at + 2], 16) > int(first[at : at + 2], 16) for at in (1, 3, 5))
    assert run_color("reference", "ift", 0, pale=True) == run_color("reference", "ift", 1)


def test_a_configuration_becomes_dotted_names() -> None:
    assert flat({"tuning": {"rank": 8}, "steps": 3}) == {"tuning.rank": 8, "steps": 3}
