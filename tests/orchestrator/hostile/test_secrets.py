"""Keys and passwords come out nowhere: canaries in the environment, and every output searched for them."""

import contextlib
import io
import json
import logging
import os
import pty
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from command_line import procon
from pyarrow import parquet
from raylets import raylets
from small_sweeps import Run, small_sweep

from orchestrator.record.journal import Journal
from orchestrator.record.manifest import manifest
from orchestrator.slots.cluster import PASSED_ON
from orchestrator.slots.shared_storage import Sight
from orchestrator.slots.slot import Slots
from orchestrator.terminal import Terminal, guard_errors
from orchestrator.tracking.store import check_tracking
from sweeps.schema.spec import SweepSpec
from training.evaluation.http_client import key_headers
from training.secrets import without_secrets

CANARIES = {
    "HF_TOKEN": "hf_canaryAAAAAAAAAAAAAAAAAA",
    "AWS_SECRET_ACCESS_KEY": "canary/BBBB+BBBBBBBBBB/BBBBB",
    "AWS_ACCESS_KEY_ID": "AKIACANARYCCCCCCCCCC",
    "OPENAI_API_KEY": 'sk-canary-"DDDD\\DDDD',
    "MLFLOW_TRACKING_PASSWORD": "canary-EEEE-EEEE",
    "OF_OUR_JUDGE": "canary-FFFF-FFFF",
}
PASSWORD = "canary%24GGGG-GGGG"
ADDRESS = f"http://ann:{PASSWORD}@127.0.0.1:9"


def leaked(text: str) -> list[str]:
    """The canaries in ``text``, as they are, in JSON and in an address."""
    return [value for value in (*CANARIES.values(), PASSWORD) if value in text or json.dumps(value)[1:-1] in text]


@pytest.fixture
def canaries(monkeypatch: pytest.MonkeyPatch) -> str:
    """A text with all of them, as an error of a library may have it."""
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ADDRESS)
    assert key_headers("OF_OUR_JUDGE") == {"Authorization": f"Bearer {CANARIES['OF_OUR_JUDGE']}"}
    return (
        f"no access with {' or '.join(CANARIES.values())} at {ADDRESS}, nor as {json.dumps(CANARIES)}, canary$GGGG-GGGG"
    )


def test_every_form_of_a_secret_is_hidden(canaries: str) -> None:
    assert not leaked(without_secrets(canaries))
    assert "canary" not in without_secrets(canaries).lower()
    assert without_secrets("no secret, sqlite:////a@b/mlflow.db") == "no secret, sqlite:////a@b/mlflow.db"


def test_terminal_logs_tracebacks_journal_and_manifest_have_none(
    canaries: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = io.StringIO()
    Terminal(file=shown, width=2000).say(canaries)
    assert "no access" in shown.getvalue()
    guard_errors()
    assert logging.lastResort is not None
    logged = logging.lastResort.format(logging.makeLogRecord({"msg": "%s", "args": (canaries,)}))
    try:
        raise RuntimeError(canaries + "\x1b]0;t\x07")
    except RuntimeError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    traced = capsys.readouterr().err
    assert "RuntimeError: no access" in traced
    assert "\x1b" not in traced
    monkeypatch.setattr(sys, "argv", ["procon", "run", "spec.yaml", "--set", f"models.0.path={ADDRESS}"])
    recorded = json.dumps(manifest(SweepSpec.model_validate(small_sweep())))
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append("note", text=canaries)
    journal.append("model_given_up", model="small", error=canaries)
    journal.append("note", text="x" * 1_000_000)
    journal.close()
    kept = (tmp_path / "journal.jsonl").read_text()
    assert len(kept) < 100_000
    for text in (shown.getvalue(), logged, traced, recorded, kept):
        assert not leaked(text)


def test_a_store_that_cannot_be_reached_is_named_without_its_password(canaries: str, tmp_path: Path) -> None:
    for verb in (("plan", "demo"), ("doctor", "--json")):
        done = procon(*verb, folder=tmp_path)
        assert done.returncode != 0
        assert "127.0.0.1:9" in done.stdout + done.stderr
        assert not leaked(done.stdout + done.stderr)
    with pytest.raises(Exception, match="MLFLOW_TRACKING_URI") as refused:
        check_tracking(ADDRESS)
    assert not leaked(str(refused.value))


def no_file_holds_one(sweep: Path, of_ray: Path) -> None:
    files = [file for folder in (sweep, of_ray) for file in folder.rglob("*") if file.is_file()]
    assert any(file.name.startswith("raylet") for file in files)
    for file in files:
        content = file.read_bytes()
        found = [value for value in (*CANARIES.values(), PASSWORD) if value.encode() in content]
        assert not found, f"{file}: {found}"


@pytest.mark.slow
def test_a_sweep_leaves_none(
    start_sweep: Callable[..., Run], canaries: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder, MLflow's store, the page, and what Ray wrote of it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="r") as of_ray:  # the names of its sockets must be short
        monkeypatch.setenv("RAY_TMPDIR", of_ray)
        run = start_sweep(tmp_path, small_sweep(trials=1))
        code, output = run.finish()
        assert code == 0, output
        assert not leaked(output)
        no_file_holds_one(tmp_path, Path(of_ray))


@pytest.mark.slow
def test_a_sweep_on_a_joined_cluster_leaves_none(
    start_sweep: Callable[..., Run], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Nor does Ray, in the logs of its nodes or on its dashboard, though workers there are given the Hub's token."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="r") as of_ray:
        with raylets({"RAY_TMPDIR": of_ray}, one={"CPU": 1}) as (cluster, _nodes):
            request.getfixturevalue("canaries")  # from here on: the processes of the cluster have none of them
            with pytest.MonkeyPatch.context() as patch:
                patch.delenv("MLFLOW_TRACKING_URI")
                run = start_sweep(tmp_path, small_sweep(trials=1), "--address", cluster.address)
                code, output = run.finish()
            assert code == 0, output
            assert not leaked(output)
            for what in ("actors", "jobs", "tasks", "workers", "placement_groups", "runtime_envs"):
                asked = f"http://{cluster.webui_url}/api/v0/{what}?detail=1&limit=1000"
                with urllib.request.urlopen(asked, timeout=60) as answer:
                    told = answer.read().decode()
                assert '"result": true' in told
                assert not leaked(told), what
        no_file_holds_one(tmp_path, Path(of_ray))


def test_workers_elsewhere_are_given_the_keys_that_they_need(canaries: str, tmp_path: Path) -> None:
    judge = {
        "type": "endpoint",
        "format": "harmbench",
        "name": "ours",
        "url": "http://127.0.0.1:9/v1",
        "model": "m",
        "api_key_env": "OF_OUR_JUDGE",
    }
    asked = small_sweep()
    spec = SweepSpec.model_validate({**asked, "evaluation": {**asked["evaluation"], "judges": [judge]}})
    of_this_machine = Slots(None, "broker", "here", spec, tmp_path, 1, date(2024, 2, 9))
    assert of_this_machine.setup(0).keys == {}, "they inherit them"
    elsewhere = replace(of_this_machine, sight=Sight(str(tmp_path), str(tmp_path / "token")))
    given = elsewhere.setup(0)
    assert given.keys == {name: CANARIES[name] for name in ("HF_TOKEN", "OF_OUR_JUDGE")}
    assert not leaked(repr(given))
    assert not {"HF_TOKEN", "OF_OUR_JUDGE"} & set(PASSED_ON)


def test_answers_do_nothing_to_a_real_terminal(tmp_path: Path) -> None:
    """``procon answers`` in a pseudo-terminal, where rich colours: of all that is sent, only its colours are codes."""
    text = "ok \x1b]0;owned\x07 \x1b[2J\x1b[31m \x9b5n \x1bP+q\x1b\\ \u202eevil \r\x08 [bold]b[/] \x00"
    row: dict[str, Any] = {"set": "harmful", "family": text, "prompt_id": text, "refused": False, "complied": True}
    (tmp_path / "answers").mkdir()
    rows = [{**row, "correct": None, "prompt": text, "answer": text}]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "answers/one.parquet")
    command = [sys.executable, "-m", "orchestrator", "answers", str(tmp_path), "--trial", "one"]
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "200"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    sent = b""
    with contextlib.suppress(OSError):  # which the end of a terminal is
        while piece := os.read(ours, 65536):
            sent += piece
    os.close(ours)
    assert process.wait(60) == 0
    shown = sent.decode()
    assert "[bold]b[/]" in shown
    codes = {piece.partition("m")[0] for piece in shown.split("\x1b")[1:]}
    assert codes, "it is coloured"
    assert all(code.startswith("[") and set(code[1:]) <= set("0123456789;") for code in codes), codes
    assert not set(shown) & set("\x00\x07\x08\x9b\u202e")
    assert "\r" not in shown.replace("\r\n", "")
