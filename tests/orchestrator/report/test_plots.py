"""What the plots show, and that they draw whatever a sweep can leave behind."""

import itertools
import re
from pathlib import Path

import pytest
from front_samples import ACCURACY, ASR, OBJECTIVES, RULES, halves, record, references, sweep

from orchestrator.front.document import build_front
from orchestrator.front.schema.document import FrontDocument
from orchestrator.record.trials import Status, TrialRecord
from orchestrator.report.page import write_html
from orchestrator.report.plots.data import plot_data
from orchestrator.report.plots.labels import Label, place_labels
from orchestrator.report.plots.picture import write_picture
from orchestrator.report.plots.shapes import PlotData
from orchestrator.report.shown import short_id, short_params
from sweeps.goals.objectives import FeasibilityRule, Objective

LOSS = Objective(metric="utility/loss", goal="minimize", worst=3.0)
OVER = Objective(metric="safety/over_refusal", goal="minimize")
LONG = {"trainer.optimisation.regularisation.projection.constraint_strength_of_the_refusal_direction": 0.1}

SWEEPS: dict[str, tuple[list[TrialRecord], list[Objective], list[FeasibilityRule]]] = {
    "usual": (sweep(24), OBJECTIVES, RULES),
    "nothing": ([], OBJECTIVES, RULES),
    "references only": (references(), OBJECTIVES, RULES),
    "none finished": ([*references(), record("a", status=Status.FAILED)], OBJECTIVES, RULES),
    "one trial": ([record("only", 0.1, 0.8)], OBJECTIVES, RULES),
    "none feasible": (sweep(6), OBJECTIVES, [FeasibilityRule.parse("safety/over_refusal < 0.0")]),
    "200 trials": (sweep(200), OBJECTIVES, RULES),
    "equal trials": ([record(f"t{i}", 0.1, 0.8) for i in range(5)], OBJECTIVES, RULES),
    "long names": ([record("x" * 60, params=LONG), record("y", params=LONG)], OBJECTIVES, RULES),
    "two models": ([*sweep(8), *sweep(8, "small", seed=3)], OBJECTIVES, RULES),
    "one objective": (sweep(12), OBJECTIVES[:1], RULES),
    "three objectives": (sweep(12), [*OBJECTIVES, OVER], []),
    "two models, one objective": ([*sweep(6), *sweep(6, "small")], OBJECTIVES[:1], []),
    "halves that differ": (
        [
            *references(),
            halves("borne-out", (0.1, 0.5), (0.12, 0.5)),
            halves("beaten", (0.2, 0.6), (0.5, 0.4)),
            halves("rule-breaker", (0.3, 0.9), (0.3, 0.9, 0.4)),
            halves("also-good", (0.25, 0.7), (0.22, 0.72)),
            halves("lucky-there", (0.5, 0.5), (0.02, 0.95)),
        ],
        OBJECTIVES,
        RULES,
    ),
    "a loss": (sweep(12), [LOSS, OBJECTIVES[0]], []),
}


def shown(name: str) -> tuple[PlotData, FrontDocument]:
    records, objectives, rules = SWEEPS[name]
    front = build_front(objectives, rules, records)
    return plot_data(name, front), front


def test_the_data_behind_the_plot() -> None:
    data, front = shown("usual")
    (panel,) = data.panels
    model = front.models["organism"]
    trials = {trial.id: trial for trial in model.trials}
    assert data.x.title == "attack success rate on held-out harmful prompts (lower is safer)"
    assert data.better == "lower attack success rate, higher task accuracy"
    assert [point.id for point in panel.of("front")] == [t for t, trial in trials.items() if trial.on_front]
    assert {point.name for point in panel.of("reference")} == {
        "base model",
        "plain fine-tuning",
        "fine-tuning + safety data",
    }
    assert all(trials[point.id].feasible is False for point in panel.of("infeasible"))
    for point in panel.of("front", "dominated"):
        trial = trials[point.id]
        assert (point.x.value, point.y.value) == (trial.metrics[ASR], trial.metrics[ACCURACY])
        assert (point.x.low, point.x.high) == trial.intervals[ASR]
        assert point.shade == trial.params["constraint.alpha"]
        named = dict(point.details)
        assert {"alpha", ASR, ACCURACY, "probability on the front"} <= set(named)
        assert "[" in named[ASR]


def test_the_staircase_is_the_edge_of_what_the_front_attains() -> None:
    trials = [record("a", 0.1, 0.3), record("b", 0.3, 0.6), record("c", 0.5, 0.9), record("worse", 0.4, 0.2)]
    (panel,) = plot_data("x", build_front(OBJECTIVES, [], trials)).panels
    assert panel.staircase == ((0.1, 0.3), (0.3, 0.3), (0.3, 0.6), (0.5, 0.6), (0.5, 0.9))


def test_members_that_the_report_prompts_do_not_bear_out_are_hollow_and_off_the_line() -> None:
    data, _ = shown("halves that differ")
    (panel,) = data.panels
    assert {p.id: p.doubt for p in panel.front(confirmed=False)} == {
        "beaten": "behind borne-out, also-good",
        "rule-breaker": "breaks a rule",
    }
    assert [p.id for p in panel.front(confirmed=True)] == ["borne-out", "also-good"]
    assert panel.staircase == ((0.12, 0.5), (0.22, 0.5), (0.22, 0.72))
    assert [p.id for p in panel.of("dominated")] == ["lucky-there"]
    assert ("on the report prompts", "breaks a rule") in panel.front(confirmed=False)[1].details


def test_the_page_says_by_what_the_front_is_chosen(tmp_path: Path) -> None:
    def page(name: str) -> str:
        data, front = shown(name)
        write_html(data, front, tmp_path / "front.html")
        return (tmp_path / "front.html").read_text(encoding="utf-8")

    split = page("halves that differ")
    assert "chosen on the <i>select</i> prompts" in split
    assert split.count("<td>confirmed</td>") == 2
    assert "<td>behind borne-out, also-good</td>" in split
    assert "that the search did not see" in split
    whole = page("one trial")
    assert "were not split: the front is chosen by the values shown, which flatters it" in whole
    assert "confirmed</td>" not in whole


def test_every_plotted_value_lies_inside_the_axes() -> None:
    for name in SWEEPS:
        data, _ = shown(name)
        for panel in data.panels:
            for point in panel.points:
                assert data.x.low <= point.x.value <= data.x.high
                assert data.y is None or data.y.low <= point.y.value <= data.y.high


def test_colour_is_the_constraint_only_where_it_is_searched() -> None:
    data, _ = shown("usual")
    assert data.shade is not None
    assert data.shade.log
    assert [data.shade.position(v) for v in (data.shade.low, data.shade.high)] == [0.0, 1.0]
    assert shown("one trial")[0].shade is None
    assert "over-refusal" in str(shown("three objectives")[0].shade)


def test_drift_is_drawn_for_references_and_the_front_only() -> None:
    data, front = shown("usual")
    (panel,) = data.panels
    on_front = sum(trial.on_front for trial in front.models["organism"].trials)
    assert len(panel.drift) == 3 + on_front
    assert panel.drift[0].layers == (0, 1, 2, 3)
    assert panel.drift[1].cosines == pytest.approx((0.9, 0.8, 0.7, 0.6))


@pytest.mark.parametrize("name", SWEEPS)
def test_whatever_a_sweep_leaves_is_drawn(tmp_path: Path, name: str) -> None:
    data, front = shown(name)
    write_picture(data, tmp_path / "front.png")
    write_html(data, front, tmp_path / "front.html")
    assert (tmp_path / "front.png").stat().st_size > 10_000
    page = (tmp_path / "front.html").read_text(encoding="utf-8")
    for panel in data.panels:
        assert f"<h2>{panel.model}</h2>" in page
        assert panel.note is None or panel.note.split(":")[0].split("<")[0] in page
    assert ("fronts compared" in page) == (len(data.panels) > 1)


def test_the_page_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    data, front = shown("two models")
    write_html(data, front, tmp_path / "front.html")
    page = (tmp_path / "front.html").read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", page.replace("</script>", "</script>\n"))
    assert "default-src 'none'" in page
    assert not re.search(r"<[^>]+ (style|on[a-z]+)=", page.split("<body>")[1].split("<script")[0]), (
        "the policy forbids it"
    )
    assert len(page) < 200_000


def test_names_from_a_specification_cannot_break_the_page(tmp_path: Path) -> None:
    nasty = [record("<script>alert(1)</script>", params={"constraint.<b>": "</script>"}), *references()]
    nasty.append(record("failed", status=Status.FAILED, error="half a pair \ud800 <script>alert(2)</script>"))
    front = build_front(OBJECTIVES, [], nasty)
    write_html(plot_data("a<b>", front), front, tmp_path / "front.html")
    page = (tmp_path / "front.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "a<b>" not in page


def test_drawing_leaves_matplotlib_as_it_was(tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    write_picture(shown("usual")[0], tmp_path / "front.png")
    assert dict(mpl.rcParams) == before


def test_short_names_stay_distinct() -> None:
    assert short_params(["constraint.alpha", "tuning.alpha", "steps"]) == {
        "constraint.alpha": "constraint.alpha",
        "tuning.alpha": "tuning.alpha",
        "steps": "steps",
    }
    assert short_params(["constraint.alpha", "constraint.layers"])["constraint.layers"] == "layers"
    assert short_id("organism-007", "organism") == "007"
    assert short_id("organism", "organism") == "organism"


def test_labels_cover_neither_each_other_nor_points() -> None:
    labels = [Label(100 + 6 * i, 100 + 3 * i, 40, 12, required=False) for i in range(6)]
    points = [(label.x - 5, label.y - 5, label.x + 5, label.y + 5) for label in labels]
    offsets = place_labels(labels, points, (0, 0, 300, 300))
    boxes = [
        (lab.x + o[0] - 20, lab.y + o[1] - 6, lab.x + o[0] + 20, lab.y + o[1] + 6)
        for lab, o in zip(labels, offsets, strict=True)
        if o is not None
    ]
    assert len(boxes) >= 4

    def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        return min(a[2], b[2]) > max(a[0], b[0]) + 1e-6 and min(a[3], b[3]) > max(a[1], b[1]) + 1e-6

    assert not any(overlap(a, b) for a, b in itertools.combinations(boxes, 2))
    assert not any(overlap(box, point) for box in boxes for point in points)


def test_an_optional_label_gives_way_and_a_required_one_does_not() -> None:
    frame = (0.0, 0.0, 40.0, 20.0)
    tight = [Label(20, 10, 30, 12, required=True), Label(20, 10, 30, 12, required=False)]
    required, optional = place_labels(tight, [(0, 0, 40, 20)], frame)
    assert required is not None
    assert optional is None
