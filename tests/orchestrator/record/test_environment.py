import copy
from pathlib import Path

import pytest

from orchestrator.record.environment import Severity, differences
from orchestrator.record.manifest import manifest
from sweeps.schema.load import load_spec
from training.config import ModelConfig

RECORDED = {
    "versions": {"python": "3.12.3", "procon-sweeps": "0.1.0", "torch": "2.13.0+cpu", "mlflow": "3.17.0"},
    "git": "abc",
    "data": {"/data/task.jsonl": "1" * 64},
    "models": {"small": "2" * 64, "hub": None},
    "hardware": {"processor": "A", "cpus": 2, "gpus": []},
}


def changed(block, key, value):
    now = copy.deepcopy(RECORDED)
    now[block] = {**now[block], key: value} if key else value
    return now


@pytest.mark.parametrize(
    ("now", "severity", "what"),
    [
        (changed("versions", "torch", "2.14.0"), Severity.CRITICAL, "torch"),
        (changed("versions", "torch", None), Severity.CRITICAL, "torch"),
        (changed("versions", "torch", "2.13.1"), Severity.WARNING, "torch"),
        (changed("versions", "python", "3.13.0"), Severity.WARNING, "python"),
        (changed("versions", "python", "3.12.4"), Severity.INFO, "python"),
        (changed("versions", "procon-sweeps", "0.1.1"), Severity.WARNING, "procon-sweeps"),
        (changed("versions", "mlflow", "3.18.0"), Severity.INFO, "mlflow"),
        (changed("data", "/data/task.jsonl", None), Severity.CRITICAL, "data /data/task.jsonl"),
        (changed("models", "small", "3" * 64), Severity.CRITICAL, "model small"),
        (changed("hardware", "gpus", ["H100"]), Severity.WARNING, "hardware gpus"),
        (changed("git", None, "def"), Severity.WARNING, "git commit"),
    ],
)
def test_each_difference_has_its_severity(now, severity, what):
    (found,) = differences(RECORDED, now)
    assert (found.severity, found.what) == (severity, what)


def test_the_gravest_come_first():
    now = changed("versions", "mlflow", "3.18.0")
    now["hardware"]["cpus"] = 64
    now["data"] = {}
    assert [found.severity for found in differences(RECORDED, now)] == ["critical", "warning", "info"]


def test_what_was_not_recorded_or_not_known_is_no_difference():
    assert differences({}, RECORDED) == []
    assert differences(RECORDED, changed("models", "hub", "4" * 64)) == []


def test_a_manifest_knows_a_changed_model_and_changed_data(tmp_path: Path) -> None:
    weights = tmp_path / "model" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"\0" * 3_000_000)
    rows = tmp_path / "task.jsonl"
    rows.write_text('{"prompt": "a", "response": "b"}\n')
    spec = load_spec("demo", [f"data.task.path={rows}"])
    spec = spec.model_copy(update={"models": [*spec.models, ModelConfig(name="local", path=str(weights.parent))]})
    before = manifest(spec)
    assert differences(before, manifest(spec)) == []
    weights.write_bytes(b"\0" * 2_999_999 + b"\1")
    rows.write_text('{"prompt": "a", "response": "c"}\n')
    found = differences(before, manifest(spec))
    assert [(difference.severity, difference.what) for difference in found] == [
        ("critical", f"data {rows}"),
        ("critical", "model local"),
    ]
    assert before["models"]["organism"]
