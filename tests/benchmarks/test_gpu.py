"""The benchmark that waits for a GPU: its stages run at toy size, and what goes wrong costs one stage."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import gpu
from gpu import MARK, STAGES, run_apart

SAID = f"import time; print('{MARK}' + '{{\"a\": 1}}', flush=True); "


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


class TestApart:
    def test_the_last_result_counts(self) -> None:
        found = run_apart(python(SAID + f"print('{MARK}' + '[2]')"), 60)
        assert (found["status"], found["result"]) == ("done", [2])

    def test_a_crash_keeps_what_was_measured_and_says_why(self) -> None:
        found = run_apart(python(SAID + "raise ValueError('no luck')"), 60)
        assert (found["status"], found["result"]) == ("failed", {"a": 1})
        assert "no luck" in found["error"]

    def test_a_stage_that_hangs_is_ended_with_its_children(self) -> None:
        child = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        found = run_apart(python(SAID + child + "time.sleep(60)"), 3)
        assert (found["status"], found["result"]) == ("timed out", {"a": 1})
        assert found["seconds"] < 30

    def test_a_stage_that_says_nothing_has_failed(self) -> None:
        assert run_apart(python("pass"), 60)["status"] == "failed"


class TestDriver:
    @pytest.fixture
    def ran(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Names of the stages that were started; ``lora-1b`` fails."""
        names: list[str] = []

        def fake(command: list[str], _limit: float) -> dict[str, Any]:
            names.append(command[2])
            return {"status": "failed" if command[2] == "lora-1b" else "done", "seconds": 1.0, "result": {}}

        monkeypatch.setattr(gpu, "run_apart", fake)
        return names

    def test_resuming_does_what_is_not_done(self, tmp_path: Path, ran: list[str]) -> None:
        out = tmp_path / "gpu.json"
        gpu.main(["--out", str(out)])
        assert ran == [stage.name for stage in STAGES]
        ran.clear()
        gpu.main(["--out", str(out), "--resume"])
        assert ran == ["lora-1b"]
        assert set(json.loads(out.read_text())["stages"]) == {stage.name for stage in STAGES}

    def test_no_stage_begins_after_the_time(self, tmp_path: Path, ran: list[str]) -> None:
        gpu.main(["--out", str(tmp_path / "gpu.json"), "--minutes", "0"])
        assert ran == []
        stages = json.loads((tmp_path / "gpu.json").read_text())["stages"]
        assert {one["status"] for one in stages.values()} == {"left out"}


@pytest.mark.slow
def test_every_stage_runs_at_toy_size(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    gpu.main(["--device", "cpu", "--tiny", "--out", str(out), "--minutes", "60"])
    stages = json.loads(out.read_text())["stages"]
    assert {name: one["status"] for name, one in stages.items()} == {stage.name: "done" for stage in STAGES}
    for name in ("lora-1b", "lora-8b", "full-1b", "full-8b"):
        assert stages[name]["result"]["procon_over_plain"] > 0
        assert stages[name]["result"]["planned_gib"] > 0
    zero = stages["zero"]["result"]
    for tuning in ("lora", "full"):
        first, *others = (zero[f"{stage} {tuning} bf16"]["losses"] for stage in (1, 2, 3))
        assert all(other == pytest.approx(first, abs=0.02) for other in others)
    assert "skipped" in stages["qlora"]["result"]
