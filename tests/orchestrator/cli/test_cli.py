"""The command line: what it refuses, how it says so, and that help comes at once."""

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from command_line import procon
from front_samples import OBJECTIVES, record
from small_sweeps import small_sweep

from orchestrator.front.document import build_front
from orchestrator.front.front_file import write_front
from orchestrator.front.schema.published import json_schema
from orchestrator.record.trials import Status


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "spec.yaml"
    file.write_text(yaml.safe_dump(small_sweep()))
    return file


@pytest.fixture
def unhealthy_server() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(503)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from orchestrator.cli.app import app;"
        "assert CliRunner().invoke(app, ['run', '--help']).exit_code == 0;"
        "print([m for m in ('torch', 'ray', 'mlflow', 'transformers', 'deepspeed', 'optuna') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_the_version_names_what_decides_numbers() -> None:
    lines = dict(line.split(" ", 1) for line in procon("--version").stdout.splitlines())
    assert lines["procon-sweeps"] == version("procon-sweeps")
    assert lines["torch"] == version("torch")
    assert {"ray", "transformers", "deepspeed", "python"} <= set(lines)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.harmful.path=nowhere.parquet", ["data.harmful", "nowhere.parquet", "does not exist"]),
        ("data.task.path=organism/small/generel", ["data.task", "organism/small/generel", "organism/small/general"]),
        ("data.task.columns.response=reply", ["data.task", "reply", "response"]),
        ("models.0.path=organism/tiny", ["organism/tiny", "organism/small"]),
        ("models.0.path=./nowhere", ["nowhere"]),
        ("trial.stepz=3", ["trial.stepz", "steps"]),
        ("trial.constraint.layers=9", ["trial.constraint.layers", "9", "0 to"]),
        ("trial.constraint.alpha=-1", ["trial.constraint.alpha", "-1"]),
        ("trial.constraint.warmup_steps=99", ["trial.constraint.warmup_steps", "99", "steps"]),
        ("trial.steps=0", ["trial.steps", "0"]),
        ("trials=0", ["trials", "0"]),
        (
            "objectives.0={metric: direction/cosine/layer_77, goal: maximize, worst: 0}",
            ["objectives.0", "layer_77", "layer_00"],
        ),
        ("objectives.0.metric=safety/bogus", ["objectives.0.metric", "safety/bogus"]),
        ("feasible=['direction/cosine/layer_44 > 0.5']", ["feasible.0", "layer_44"]),
    ],
)
def test_bad_input_is_one_sentence_and_starts_nothing(spec: Path, override: str, words: list[str]) -> None:
    result = procon("run", str(spec), "--set", override, "--out", str(spec.parent / "out"))
    assert result.returncode == 2, result.stdout + result.stderr
    said = [line for line in result.stderr.splitlines() if line.startswith("procon: ")]
    assert len(said) == 1, result.stderr
    assert all(word in said[0] for word in words), said[0]
    assert "Traceback" not in result.stderr
    assert not (spec.parent / "out").exists()
    assert not (spec.parent / "mlflow.db").exists()


def test_an_empty_split_is_refused(spec: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = spec.parent / "prompts.parquet"
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), file)
    result = procon("run", str(spec), "--set", f"data.harmful={{path: {file}}}")
    assert result.returncode == 2
    assert "data.harmful" in result.stderr
    assert "no rows" in result.stderr


def test_a_split_that_no_row_has_is_refused(spec: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = spec.parent / "prompts.parquet"
    pq.write_table(pa.table({"prompt": ["a", "b"], "split": ["train", "train"]}), file)
    value = f"data.harmful={{train: {{path: {file}, split: train}}, test: {{path: {file}, split: dev}}}}"
    result = procon("run", str(spec), "--set", value)
    assert result.returncode == 2
    assert all(word in result.stderr for word in ("data.harmful.test", "dev", "train"))


def test_an_mlflow_that_is_not_there_is_refused_before_anything_starts(spec: Path) -> None:
    result = procon("run", str(spec), "--out", str(spec.parent / "out"), MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert result.returncode == 2
    assert all(word in result.stderr for word in ("MLFLOW_TRACKING_URI", "http://127.0.0.1:9"))
    assert not (spec.parent / "out").exists()


def test_an_mlflow_that_is_not_well_is_refused(spec: Path, unhealthy_server: str) -> None:
    result = procon("run", str(spec), MLFLOW_TRACKING_URI=unhealthy_server)
    assert result.returncode == 2
    assert all(word in result.stderr for word in ("MLFLOW_TRACKING_URI", unhealthy_server, "503"))


def test_an_output_folder_in_use_is_refused(spec: Path) -> None:
    (spec.parent / "out").mkdir()
    (spec.parent / "out" / "precious").write_text("x")
    result = procon("run", str(spec), "--out", str(spec.parent / "out"))
    assert result.returncode == 2
    assert "--out" in result.stderr
    assert (spec.parent / "out" / "precious").read_text() == "x"


def test_the_front_of_a_folder_without_one_is_refused(tmp_path: Path) -> None:
    result = procon("front", str(tmp_path))
    assert result.returncode == 2
    assert str(tmp_path) in result.stderr


def test_the_front_is_shown_again(tmp_path: Path) -> None:
    front = build_front(OBJECTIVES, [], [record("a", model="m", status=Status.FAILED)])
    write_front(tmp_path / "front.json", front)
    shown = procon("front", str(tmp_path))
    assert shown.returncode == 0, shown.stderr
    assert "Pareto front of m" in shown.stdout
    assert json.loads(procon("front", "--json", str(tmp_path)).stdout) == {str(tmp_path): front.as_json()}


def test_the_schema_of_the_front_is_printed() -> None:
    printed = procon("front", "--schema")
    assert printed.returncode == 0, printed.stderr
    assert json.loads(printed.stdout) == json_schema()


def test_default_folders_count_up(tmp_path: Path) -> None:
    from orchestrator.record.folder import create_output

    folders = [create_output(None, "demo", tmp_path) for _ in range(3)]
    assert [folder.name for folder in folders] == ["demo", "demo-2", "demo-3"]
