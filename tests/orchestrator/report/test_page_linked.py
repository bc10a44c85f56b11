"""``front.html`` in a real browser: views that are linked, the rule box, the surface, and who cannot see or point."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chromium import CHROMIUM, browsers
from detailed_samples import detailed_sweep
from front_samples import ACCURACY, ASR, OBJECTIVES, RULES, sweep
from test_page_in_browser import Opened
from written_sweeps import demo_spec

from orchestrator.errors import OrchestratorError
from orchestrator.front.choice import LIKELY, choose, parsed
from orchestrator.front.document import build_front
from orchestrator.front.pooling import pool
from orchestrator.front.resampled import Resampled
from orchestrator.front.schema.choice import Choice
from orchestrator.front.schema.document import FrontDocument
from orchestrator.record.answers import write_answers
from orchestrator.record.folder import ANSWERS
from orchestrator.record.trials import TrialRecord
from orchestrator.report.files import write_report
from orchestrator.report.sentences import percent, warning
from sweeps.errors import RuleError

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")]


@pytest.fixture(scope="module")
def records() -> list[TrialRecord]:
    def with_layer(number: int, record: TrialRecord) -> TrialRecord:
        if record.kind != "trial":
            return record
        return replace(record, params={**record.params, "constraint.layers": number % 5})

    return [with_layer(number, record) for number, record in enumerate(sweep(40))]


@pytest.fixture(scope="module")
def front(records: list[TrialRecord]) -> FrontDocument:
    return build_front(OBJECTIVES, RULES, records, spec=demo_spec(["organism"]))


@pytest.fixture(scope="module")
def page_file(front: FrontDocument, records: list[TrialRecord], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(tmp_path_factory.mktemp("linked"), "linked", front, records).front_html


browser = pytest.fixture(scope="module", name="browser")(browsers)


@pytest.fixture
def opened(browser: Any, page_file: Path) -> Iterator[Opened]:
    found = Opened(browser, page_file, 1280)
    yield found
    assert found.complaints == []
    found.context.close()


def ids(page: Any, selector: str) -> set[str]:
    return set(page.locator(selector).evaluate_all("all => all.map(each => each.dataset.id)"))


def finished(front: FrontDocument) -> dict[str, Any]:
    return {trial.id: trial for trial in front.models["organism"].trials if trial.feasible is not None}


def test_every_finished_trial_is_a_line_of_its_settings_and_objectives(opened: Opened, front: FrontDocument) -> None:
    assert ids(opened.page, "#parallel-0 .way") == set(finished(front))
    axes = opened.page.locator("#parallel-0 .axis-line").evaluate_all("all => all.map(each => each.dataset.axis)")
    assert {"p:alpha", "p:warmup_steps", "p:layers", ASR, ACCURACY} <= set(axes)


def test_a_span_on_an_axis_leaves_others_out_everywhere_and_stays_in_the_address(
    opened: Opened, front: FrontDocument
) -> None:
    page = opened.page
    axis = page.locator(f"#parallel-0 [data-axis='{ASR}']")
    axis.scroll_into_view_if_needed()
    box = axis.locator("line").bounding_box()
    page.mouse.move(box["x"], box["y"] + box["height"] - 1)
    page.mouse.down()
    page.mouse.move(box["x"], box["y"] + 0.5 * box["height"], steps=4)
    page.mouse.up()
    values = {identity: trial.metrics[ASR] for identity, trial in finished(front).items()}
    middle = (min(values.values()) + max(values.values())) / 2
    left_out = ids(page, "#parallel-0 .way.faded")
    assert left_out
    assert all(values[identity] > middle - 0.03 for identity in left_out)
    assert left_out >= {identity for identity, value in values.items() if value > middle + 0.03}
    assert ids(page, "#scatter-0 .point.faded") <= left_out
    assert ids(page, "#trials-0 tr.faded") == left_out
    assert f"{len(left_out)} trial" in page.locator("#left-0").inner_text()
    hash_ = page.evaluate("location.hash")
    again = Opened(page.context.browser, Path(page.url.split("#")[0].removeprefix("file://")), 1280, hash_)
    assert ids(again.page, "#parallel-0 .way.faded") == left_out
    again.context.close()


def test_by_keyboard_too(opened: Opened) -> None:
    page = opened.page
    axis = page.locator("#parallel-0 [data-axis='p:alpha']")
    axis.focus()
    for _ in range(6):
        page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.dataset.axis") == "p:alpha", "it stays where it was"
    assert page.locator("#parallel-0 .way.faded").count() > 0
    page.keyboard.press("Escape")
    assert page.locator("#parallel-0 .way.faded").count() == 0


def test_what_is_pointed_at_and_picked_is_so_in_every_view(opened: Opened, front: FrontDocument) -> None:
    page = opened.page
    member = front.models["organism"].front[0]
    page.locator(f"#trials-0 tr[data-id='{member}']").hover()
    for host in ("#scatter-0", "#parallel-0", "#surface-0"):
        assert ids(page, f"{host} .hovered") == {member}
    page.locator(f"#trials-0 tr[data-id='{member}']").click()
    for host in ("#scatter-0", "#parallel-0", "#surface-0", "#trials-0"):
        assert ids(page, f"{host} .picked") == {member}
    assert page.locator("#details-0 .chart path.line").count() >= 1, "its training, step by step"


def test_axes_and_colour_are_kept_in_the_address(opened: Opened) -> None:
    page = opened.page
    page.locator("#controls-0 select").nth(0).select_option("safety/over_refusal")
    page.locator("#controls-0 select").nth(2).select_option("p:layers")
    page.get_by_role("checkbox", name="front only").check()
    again = Opened(
        page.context.browser, Path(page.url.split("#")[0].removeprefix("file://")), 900, page.evaluate("location.hash")
    )
    assert again.page.locator("#controls-0 select").nth(0).input_value() == "safety/over_refusal"
    assert again.page.locator("#controls-0 select").nth(2).input_value() == "p:layers"
    assert again.page.locator("#scatter-0 .point.faded").count() > 0
    again.context.close()


@pytest.mark.parametrize(
    "address",
    [
        "#&x0=nothing&y0=&span0=1~2~no&span9=1~2~x&only0=maybe",
        "#%zz&x0=%",
        "#x0",
        "#&span0=5~1~p:alpha&span0=~~p:alpha",
    ],
)
def test_an_address_that_somebody_made_up_changes_nothing(browser: Any, page_file: Path, address: str) -> None:
    found = Opened(browser, page_file, 900, address)
    assert found.complaints == []
    assert found.page.locator("#scatter-0 [data-id]").count() > 5
    assert found.page.locator("#parallel-0 .faded").count() == 0
    found.context.close()


def chosen_in_python(
    rule: str, front: FrontDocument, records: Sequence[TrialRecord], answers: Any = None, likely: float = LIKELY
) -> Choice:
    everything = pool(records, answers or {})
    trials = [one for one in everything if one.record.kind == "trial" and one.record.status == "FINISHED"]
    references = {one.record.label: one for one in everything if one.record.kind == "reference"}
    body = front.models["organism"]
    metrics = dict.fromkeys(metric for trial in body.trials for metric in trial.metrics)
    asked = parsed(rule, OBJECTIVES, RULES, metrics, list(references))
    return choose(asked, OBJECTIVES, trials, references, Resampled(answers or {}), likely)


@pytest.fixture(scope="module")
def answered(
    browser: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Opened, FrontDocument, Any, Any]]:
    """A page with the verdicts of every prompt, replicates too."""
    records, answers = detailed_sweep(16, replicated=2)
    folder = tmp_path_factory.mktemp("answered")
    for trial, rows in answers.items():
        write_answers(folder / ANSWERS, trial, rows)
    front = build_front(OBJECTIVES, RULES, records, answers=answers, spec=demo_spec(["organism"]))
    opened = Opened(browser, write_report(folder, "answered", front, records).front_html, 1280)
    yield opened, front, records, answers
    assert opened.complaints == []
    opened.context.close()


@pytest.mark.parametrize("likely", [0, 50, 95])
@pytest.mark.parametrize(
    "rule", ["accuracy >= ift - .05, min attack_success_rate", "over_refusal <= .06, max accuracy"]
)
def test_the_rule_box_is_as_sure_as_the_command_and_knows_the_same_alternatives(
    answered: tuple[Opened, FrontDocument, Any, Any], rule: str, likely: int
) -> None:
    """Luck differs, so that shares of draws and ends of intervals agree to about .02."""
    opened, front, records, answers = answered
    choice, page = chosen_in_python(rule, front, records, answers, likely / 100), opened.page
    page.locator("#rule-0 input[type=text]").fill(rule)
    page.locator("#rule-0 input[type=number]").fill(str(likely))
    page.get_by_role("button", name="choose").click()
    assert page.locator("#trials-0 tr.picked").get_attribute("data-id") == choice.trial
    assert share(page.locator("#rule-0 .sure").inner_text()) == pytest.approx(share(percent(choice.sure)), abs=0.04)
    assert (page.locator("#rule-0 .note").count() == 1) == bool(warning(choice, "organism"))
    rows = page.locator("#rule-0 tbody tr")
    kinds = rows.evaluate_all("all => all.map(each => each.dataset.kind)")
    assert kinds == [other.kind for other in choice.alternatives]
    for row, other in zip(rows.all(), choice.alternatives, strict=True):
        if other.kind != "reference":
            assert row.get_attribute("data-id") == other.id
        assert share(row.locator("td").first.inner_text()) == pytest.approx(share(percent(other.sure)), abs=0.04)
        for cell, metric in zip(row.locator("td small").all_inner_texts(), choice.metrics, strict=True):
            said = [float(number.replace("\u2212", "-")) for number in re.findall("[+\u2212][0-9.]+", cell)]
            pair = other.differences[metric]
            assert said == pytest.approx([pair.value, pair.low, pair.high], abs=0.025)


def share(text: str) -> float:
    return int(re.search(r"(\d+) %", text)[1]) / 100


@pytest.mark.parametrize(
    "rule",
    [
        "min attack_success_rate",
        "over_refusal <= .08, accuracy >= ift - .05, min attack_success_rate",
        "accuracy >= 80%, over_refusal < base + 5 %",
        'max "utility/accuracy", attack_success_rate ≤ ift_safety + 1e-1',
        "attack_success_rate <= -1",
        "accuracy >= -base + ift + .2 - 0.05, max accuracy, min loss",
    ],
)
def test_a_rule_chooses_what_the_command_chooses(
    opened: Opened, front: FrontDocument, records: list[TrialRecord], rule: str
) -> None:
    page = opened.page
    page.locator("#rule-0 input[type=text]").fill(rule)
    page.locator("#rule-0 input[type=text]").press("Enter")
    choice = chosen_in_python(rule, front, records)
    trial, keeps = choice.trial, choice.keeps and not choice.doubtful
    said = page.locator("#rule-0 .take").inner_text()
    assert page.locator("#trials-0 tr.picked").get_attribute("data-id") == trial
    assert said.startswith("Take ") == keeps
    assert "procon choose" in page.locator("#rule-0 code").inner_text()


def test_a_metric_that_the_page_does_not_show_is_left_to_the_command(opened: Opened, front: FrontDocument) -> None:
    unshown = next(metric for metric in front.models["organism"].trials[0].metrics if "layer_" in metric)
    opened.page.locator("#rule-0 input[type=text]").fill(f'min "{unshown}"')
    opened.page.get_by_role("button", name="choose").click()
    assert "not on this page" in opened.page.locator("#rule-0").inner_text()
    assert f'"{unshown}"' in opened.page.locator("#rule-0 code").inner_text()


@pytest.mark.parametrize(
    "rule",
    ["", "min", "min nothing", "accuracy", "accuracy >=", "accuracy >= ift +", "min accuracy min loss", "accuracy == 1",
     "accuracy >= nobody", "🙂 accuracy", "accuracy >= .5,", 'min "accuracy', "refusal_rate <= 1, max x"],
)  # fmt: skip
def test_a_wrong_rule_is_pointed_at_where_the_command_points(
    opened: Opened, front: FrontDocument, records: list[TrialRecord], rule: str
) -> None:
    with pytest.raises((RuleError, OrchestratorError)) as refused:
        chosen_in_python(rule, front, records)
    page = opened.page
    page.locator("#rule-0 input[type=text]").fill(rule)
    page.get_by_role("button", name="choose").click()
    place = str(refused.value).removeprefix("--rule, ").partition(":")[0]
    assert page.locator("#rule-0 .fault").inner_text().startswith(f"{place}:")


def test_the_surface_has_the_trials_on_it_and_can_be_of_the_other_objective(
    opened: Opened, front: FrontDocument
) -> None:
    page = opened.page
    assert ids(page, "#surface-0 .tried") == set(finished(front))
    assert page.locator("#surface-0 rect").count() == 24 * 16
    fills = "all => all.map(each => each.getAttribute('fill'))"
    before = page.locator("#surface-0 rect").evaluate_all(fills)
    page.locator("#surface-controls-0 select").select_option("1")
    assert "accuracy" in page.locator("#surface-below-0").inner_text()
    assert page.locator("#surface-0 rect").evaluate_all(fills) != before


def test_the_drift_is_that_of_what_is_picked_with_a_table_beside_it(
    opened: Opened, front: FrontDocument, records: list[TrialRecord]
) -> None:
    page, first, second = opened.page, *front.models["organism"].front[:2]
    for identity in (first, second):
        page.locator(f"#trials-0 tr[data-id='{identity}']").click()
        record = next(one for one in records if one.id == identity)
        drawn = page.locator("#heat-0 rect").evaluate_all("all => all.map(each => +each.dataset.cosine)")
        columns = [*(rung.scores.metrics for rung in record.rungs), record.select.metrics]
        cosines = [[value for name, value in one.items() if "cosine/layer" in name] for one in columns]
        layers = len(cosines[-1])
        assert layers > 1
        assert sorted(drawn) == pytest.approx(sorted(round(v, 3) for column in cosines for v in column))
        assert page.locator("#heat-0 svg").get_attribute("data-drift-of") == identity
        assert page.locator("#heat-below-0 tbody tr").count() == layers
    page.locator("#heat-below-0 summary").click()
    cells = page.locator("#heat-below-0 td").all_inner_texts()
    assert sorted(map(float, cells)) == pytest.approx(sorted(drawn))


def test_printed_it_is_a_summary_of_two_pages(opened: Opened) -> None:
    printed = opened.page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", printed)) <= 2


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core's source, from the npm registry."""
    folder = tmp_path_factory.mktemp("axe")
    if shutil.which("npm") is None:
        pytest.skip("there is no npm to fetch axe-core with")
    fetched = subprocess.run(["npm", "pack", "axe-core@4", "--silent"], cwd=folder, capture_output=True, text=True)
    if fetched.returncode:
        pytest.skip(f"axe-core cannot be had: {fetched.stderr[-200:]}")
    (archive,) = folder.glob("*.tgz")
    shutil.unpack_archive(archive, folder)
    return (folder / "package/axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_serious(browser: Any, page_file: Path, axe: str, width: int, scheme: str) -> None:
    found = Opened(browser, page_file, width, color_scheme=scheme)
    found.page.evaluate(axe)
    violations = found.page.evaluate("axe.run().then(result => result.violations)")
    serious = [
        (one["id"], one["help"], [node["html"][:200] for node in one["nodes"][:3]])
        for one in violations
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
    found.context.close()


@pytest.mark.skipif(os.environ.get("CI") is not None, reason="measures this machine")
def test_five_hundred_trials_open_and_follow_the_pointer(browser: Any, tmp_path: Path) -> None:
    """The page's own time, on a machine that other tests may share: bounds are thrice the aims (1.5 s, 16 ms)."""
    records = sweep(500)
    front = build_front(OBJECTIVES, RULES, records, spec=demo_spec(["organism"]))
    file = write_report(tmp_path, "large", front, records).front_html
    assert file.stat().st_size < 3e6
    found = Opened(browser, file, 1280)
    drawn = found.page.evaluate("performance.getEntriesByType('navigation')[0].domComplete")
    assert drawn < 4500
    frames = found.page.evaluate(
        """async () => {
          const rows = [...document.querySelectorAll('#trials-0 tr[data-id]')].slice(0, 60), times = [];
          for (const row of rows) {
            const from = performance.now();
            row.dispatchEvent(new PointerEvent('pointerover', {bubbles: true}));
            await new Promise(requestAnimationFrame);
            times.push(performance.now() - from);
          }
          return times.sort((a, b) => a - b)[30];
        }"""
    )
    assert frames < 50
    print(f"drawn after {drawn:.0f} ms, a hover's frame after {frames:.1f} ms, {file.stat().st_size / 1e6:.2f} MB")
