"""``front.html`` in a real browser: what is drawn is what ``front.json`` says, by pointer and by keyboard."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import CHROMIUM, browsers
from detailed_samples import detailed_sweep
from front_samples import ACCURACY, ASR, OBJECTIVES, RULES
from written_sweeps import demo_spec

from orchestrator.front.document import build_front
from orchestrator.front.schema.document import FrontDocument
from orchestrator.report.files import write_report
from orchestrator.report.plots.data import plot_data

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")]

NASTY = '</script><img src=x onerror="window.hacked=1">'


@pytest.fixture(scope="module")
def front() -> FrontDocument:
    records, answers = detailed_sweep(16, replicated=1)
    more, others = detailed_sweep(16, model=NASTY, replicated=0, seed=2)
    everything = {**answers, **others}
    return build_front(OBJECTIVES, RULES, [*records, *more], answers=everything, spec=demo_spec(["organism"]))


@pytest.fixture(scope="module")
def page_file(front: FrontDocument, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(tmp_path_factory.mktemp("page"), NASTY, front, []).front_html


browser = pytest.fixture(scope="module", name="browser")(browsers)


class Opened:
    """The page in a window, with everything that it complained of or asked for."""

    def __init__(self, browser: Any, file: Path, width: int, address: str = "", **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri() + address)
        self.page.wait_for_selector("html[data-drawn=yes]")


@pytest.fixture
def opened(browser: Any, page_file: Path) -> Iterator[Opened]:
    found = Opened(browser, page_file, 1280)
    yield found
    found.context.close()


def test_points_and_front_are_those_of_the_document(opened: Opened, front: FrontDocument) -> None:
    data = plot_data("x", front)
    for place, panel in enumerate(data.panels):
        opened.page.locator(f"#controls-{place}").get_by_role("checkbox", name="show all").check()
        drawn = opened.page.locator(f"#scatter-{place} [data-id]").evaluate_all(
            "all => all.map(e => [e.dataset.id, +e.dataset.x, +e.dataset.y])"
        )
        points = {identity: (x, y) for identity, x, y in drawn}
        trials = {t.id: t for t in front.models[panel.model].trials if t.feasible is not None}
        assert len(points) == len(trials) + len(front.models[panel.model].reference)
        for identity, trial in trials.items():
            assert points[identity] == pytest.approx((trial.metrics[ASR], trial.metrics[ACCURACY]), rel=1e-4)
        stairs = json.loads(opened.page.locator(f"#scatter-{place} .stairs").get_attribute("data-points"))
        assert stairs == [pytest.approx(corner, rel=1e-4) for corner in panel.staircase]


def test_nothing_complains_nothing_is_asked_for_and_no_text_runs(opened: Opened, page_file: Path) -> None:
    assert opened.complaints == []
    assert opened.requests == [page_file.as_uri()]
    assert opened.page.evaluate("window.hacked") is None
    opened.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=http://127.0.0.1:9/x>')")
    opened.page.wait_for_timeout(200)
    assert any("Content Security Policy" in text for text in opened.complaints)


@pytest.mark.parametrize("width", [390, 690, 1280])
def test_nothing_is_wider_than_the_window_and_figures_fill_their_pane(
    browser: Any, page_file: Path, width: int
) -> None:
    opened = Opened(browser, page_file, width)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    for chart in opened.page.locator(".chart").all():
        box, drawn = chart.bounding_box(), chart.locator("svg").bounding_box()
        assert drawn["width"] <= box["width"] + 1
        if "heat" not in chart.get_attribute("class"):  # a map of few steps is as wide as these are
            assert box["width"] - drawn["width"] <= 1
    opened.page.set_viewport_size({"width": width - 60, "height": 900})
    opened.page.wait_for_timeout(200)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width - 60
    opened.context.close()


def test_it_opens_on_what_to_take(opened: Opened, front: FrontDocument) -> None:
    choice = front.models["organism"].choice
    assert choice is not None
    card = opened.page.locator(".answer").first
    assert str(choice.trial).removeprefix("organism-") in card.locator(".take").inner_text()
    assert f"--trial {choice.trial}" in card.locator("code").first.inner_text()
    assert card.bounding_box()["y"] < 150
    assert opened.page.locator("#scatter-0 .ring").count() == 1
    assert "on the front" in opened.page.locator("#details-0").inner_text()


def test_a_point_is_picked_by_keyboard_and_everything_follows(opened: Opened) -> None:
    page = opened.page
    first = page.locator("#scatter-0 circle[data-id]").first
    first.focus()
    page.keyboard.press("ArrowRight")
    identity = page.evaluate("document.activeElement.dataset.id")
    assert identity != first.get_attribute("data-id")
    page.keyboard.press("Enter")
    assert page.evaluate("decodeURIComponent(location.hash.slice(1))") == identity
    assert page.locator("tr.picked").get_attribute("data-id") == identity
    assert page.locator("#details-0 dt").count() > 3
    again = Opened(page.context.browser, Path(page.url.split("#")[0].removeprefix("file://")), 1280, f"#{identity}")
    assert again.page.locator("tr.picked").get_attribute("data-id") == identity
    again.context.close()


def test_a_row_is_picked_and_columns_are_sorted(opened: Opened, front: FrontDocument) -> None:
    page = opened.page
    table = page.locator("table.sortable").first
    members = front.models["organism"].front
    table.locator(f"tr[data-id='{members[0]}']").click()
    assert page.locator("#scatter-0 .picked").get_attribute("data-id") == members[0]
    heading = table.locator("th", has_text="attack success rate")
    for order in ("ascending", "descending"):
        heading.locator("button").click()
        assert heading.get_attribute("aria-sort") == order
        place = heading.evaluate("e => e.cellIndex")
        values = table.locator("tbody tr").evaluate_all(f"rows => rows.map(r => r.cells[{place}].dataset.v)")
        known = [float(value) for value in values if value]
        assert known == sorted(known, reverse=order == "descending")
        assert values[-1] is None, "what was not measured comes last"


def test_axes_and_colours_can_be_changed(opened: Opened) -> None:
    page = opened.page
    page.locator("#controls-0 select").nth(0).select_option("safety/over_refusal")
    assert "over-refusal" in page.locator("#axes-0 .axis.x").inner_text()
    assert page.locator("#scatter-0 .stairs").count() == 0, "it is the edge of the objectives"
    page.locator("#controls-0 select").nth(2).select_option("p:layers")
    assert "layers" in page.locator("#axes-0 .legend").inner_text()
    assert opened.complaints == []


def test_it_works_in_the_frame_that_mlflow_shows_it_in(browser: Any, page_file: Path) -> None:
    """Which may run scripts and nothing else, and has no address of its own."""
    context = browser.new_context(viewport={"width": 690, "height": 900})
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.set_content('<iframe sandbox="allow-scripts" width="660" height="800"></iframe>')
    page.locator("iframe").evaluate(
        "(frame, text) => { frame.src = URL.createObjectURL(new Blob([text], {type: 'text/html'})) }",
        page_file.read_text(encoding="utf-8"),
    )
    frame = page.frame_locator("iframe")
    frame.locator("#scatter-0 circle[data-id]").nth(2).click()
    identity = frame.locator("#scatter-0 circle[data-id]").nth(2).get_attribute("data-id")
    assert frame.locator("tr.picked").get_attribute("data-id") == identity
    frame.locator(".command button").first.click()
    assert complaints == []
    context.close()


def test_dark_and_print(browser: Any, page_file: Path) -> None:
    opened = Opened(browser, page_file, 900, color_scheme="dark")
    paper = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(20, 24, 29)"
    opened.page.emulate_media(media="print")
    assert not opened.page.locator(".controls").first.is_visible()
    assert opened.page.locator(".answer").first.is_visible()
    opened.context.close()
