"""A real MLflow server in a real browser: the views open with their charts, and the points drawn are the front's."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from chromium import CHROMIUM, browsers
from detailed_samples import detailed_sweep
from front_samples import ACCURACY, ASR
from mlflow import MlflowClient
from written_sweeps import demo_spec, write_sweep

from orchestrator.driver.sync import RUNS, sync
from orchestrator.front.front_file import read_front
from orchestrator.front.schema.document import FrontDocument
from orchestrator.record.folder import read_json
from orchestrator.tracking.runs import parent_key
from orchestrator.tracking.views import DRIFT, MODELS, PARETO, TRAINING, page, parallel_charts

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")]

NAMES = ("organism", "other")
PICTURES = os.environ.get("PROCON_PICTURES")
"""A folder for pictures of what was opened, for people to look at."""
READ_POINTS = """
() => [...document.querySelectorAll('.js-plotly-plot')]
  .flatMap(plot => (plot.data || []).map(trace => ({type: trace.type, mode: trace.mode, x: trace.x, y: trace.y,
    dimensions: (trace.dimensions || []).map(one => one.label)})))
  .map(trace => JSON.stringify(trace))
"""


@dataclass(frozen=True)
class Served:
    """A sweep in the store of a server."""

    address: str
    experiment: str
    front: FrontDocument
    parents: dict[str, str]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    shutil.copy(empty_store, folder / "server.db")
    sweeps = [detailed_sweep(12, model, replicated=1, seed=seed) for seed, model in enumerate(NAMES)]
    records = [record for found, _ in sweeps for record in found]
    answers = {trial: rows for _, found in sweeps for trial, rows in found.items()}
    sweep = write_sweep(folder / "sweep", demo_spec(NAMES), records, answers)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder / 'server.db'}",
        "--artifacts-destination",
        str(folder / "a"),
    ]
    log = (folder / "server.log").open("w")
    quiet = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # else five more processes
    server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=quiet)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address, server, folder / "server.log")
        found = sync(sweep, address)
        assert found.undelivered == 0
        runs = read_json(sweep / RUNS)[address]
        parents = {model: runs[parent_key(model)] for model in NAMES}
        yield Served(address, str(found.experiment), read_front(sweep), parents)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        log.close()


def _wait(address: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5):
            return
        time.sleep(0.5)
    raise AssertionError(f"the server did not start: {log.read_text()[-2000:]}")


browser = pytest.fixture(scope="module", name="browser")(browsers)


class Opened:
    """A page of MLflow in a window, with what it complained of and whom it asked."""

    def __init__(self, browser: Any, address: str) -> None:
        self.context = browser.new_context(viewport={"width": 1500, "height": 1000})
        self.page = self.context.new_page()
        self.page.set_default_timeout(120_000)
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("response", lambda answer: self._answered(answer))
        self.page.goto(address)

    def _answered(self, answer: Any) -> None:
        theirs = "/users/current"  # which MLflow's page asks for and a server without logins has not
        if answer.status >= 400 and "/ajax-api/" in answer.url and theirs not in answer.url:
            self.errors.append(f"{answer.status} {answer.url}")

    def keep(self, name: str) -> None:
        if PICTURES:
            self.page.screenshot(path=str(Path(PICTURES) / f"{name}.png"))

    def plots(self, at_least: int) -> list[dict[str, Any]]:
        """The traces that are drawn, once there are enough."""
        self.page.wait_for_function(
            "n => [...document.querySelectorAll('.js-plotly-plot')].filter(p => (p.data || []).length).length >= n",
            arg=at_least,
        )
        return [json.loads(text) for text in self.page.evaluate(READ_POINTS)]


@pytest.fixture
def opened(browser: Any, request: pytest.FixtureRequest, served: Served) -> Iterator[Opened]:
    found = Opened(browser, page(served.address, served.experiment, request.param))
    yield found
    found.keep(request.param)
    found.context.close()
    assert found.errors == []


@pytest.mark.parametrize("opened", [PARETO], indirect=True)
def test_the_front_is_drawn_with_the_values_of_the_document(opened: Opened, served: Served) -> None:
    traces = opened.plots(at_least=1)
    opened.page.wait_for_timeout(2000)
    drawn = {
        (round(x, 6), round(y, 6))
        for trace in traces
        if trace["type"] in ("scatter", "scattergl") and trace["x"]
        for x, y in zip(trace["x"], trace["y"], strict=True)
        if x is not None and y is not None
    }
    client = MlflowClient(served.address)
    for model, body in served.front.models.items():
        assert body.front
        for member in body.members:
            runs = client.search_runs([served.experiment], f"tags.`procon.trial` = '{member.id}'")
            (point,) = [(round(run.data.metrics[ASR], 6), round(run.data.metrics[ACCURACY], 6)) for run in runs]
            assert point in drawn, (model, member.id)
            if member.replicates == 1:
                assert point == (round(member.metrics[ASR], 6), round(member.metrics[ACCURACY], 6))
    assert opened.page.get_by_text("Parallel Coordinates").count() == len(parallel_charts(demo_spec(NAMES)))


@pytest.mark.parametrize(
    ("opened", "charts"),
    [
        (TRAINING, ["train/loss"]),
        (DRIFT, ["safety/refusal_log_odds", "direction/cosine/layer_02"]),
        (MODELS, ["front/hypervolume", "normalised/hypervolume"]),
    ],
    indirect=["opened"],
)
def test_a_named_view_opens_with_its_charts(opened: Opened, charts: list[str]) -> None:
    assert opened.plots(at_least=len(charts))
    for chart in charts:
        assert opened.page.get_by_text(chart, exact=True).count() >= 1, chart


def test_the_description_of_a_parent_shows_the_picture(browser: Any, served: Served) -> None:
    address = f"{served.address}/#/experiments/{served.experiment}/runs/{served.parents['organism']}"
    found = Opened(browser, address)
    picture = found.page.locator("img[src*='front.png']").first
    picture.wait_for(state="visible")
    found.page.wait_for_function("() => document.querySelector(\"img[src*='front.png']\").naturalWidth > 500")
    found.keep("parent")
    found.context.close()
    assert found.errors == []
