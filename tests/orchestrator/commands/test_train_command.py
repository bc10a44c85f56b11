"""``procon train`` as a person runs it, where it trains in a process of its own."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from command_line import procon
from small_sweeps import small_sweep

from orchestrator.commands.train_progress import TrainProgress
from orchestrator.terminal import Terminal
from training.config import TrialConfig

FEW = {"harmful": 6, "harmless": 6, "borderline": 6, "task": 6, "max_new_tokens": 4}


def arguments_of(folder, *arguments, **trial):
    settings = {**small_sweep()["trial"], "deepspeed": {"zero_stage": 0}, **trial}
    spec = small_sweep(trial=settings, evaluation=FEW, search={}, direction={"prompts": 8})
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    return ["train", str(folder / "spec.yaml"), "--out", str(folder / "out"), *arguments]


def start(folder, *arguments, **trial):
    command = [sys.executable, "-m", "orchestrator", *arguments_of(folder, *arguments, **trial)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder, env=os.environ
    )


def ended(process):
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


def test_base_and_trained_are_measured_and_the_adapter_is_saved(tmp_path):
    code, output, errors = ended(start(tmp_path, "--json", "--set", "trial.packing=true", steps=4, log_every=2))
    assert code == 0, errors
    found = json.loads(output)
    assert found == json.loads((tmp_path / "out" / "trial.json").read_text())
    assert (found["status"], found["steps"]) == ("FINISHED", 4)
    assert found["trial"]["packing"] is True
    assert found["base"]["metrics"]["utility/loss"] != found["trained"]["metrics"]["utility/loss"]
    low, high = found["trained"]["intervals"]["safety/attack_success_rate"]
    assert 0 <= low <= found["trained"]["metrics"]["safety/attack_success_rate"] <= high <= 1
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").is_file()
    assert "global batch 16 = 1 workers x 16 samples" in errors
    assert "step 4/4" in errors


def test_whole_weights_are_not_called_an_adapter(tmp_path):
    trained = procon(*arguments_of(tmp_path, "--json", steps=2, log_every=2, tuning={"type": "full"}))
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "out" / "model" / "model.safetensors").is_file()
    assert not (tmp_path / "out" / "adapter").exists()


@pytest.mark.slow
def test_control_c_stops_after_the_running_steps(tmp_path):
    process = start(tmp_path, steps=5000, log_every=1)
    assert process.stdout is not None
    deadline = time.monotonic() + 200
    while "step 2/" not in process.stdout.readline():
        assert process.poll() is None
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    code, output, _ = ended(process)
    assert code == 130
    assert "stopped after step" in output
    found = json.loads((tmp_path / "out" / "trial.json").read_text())
    assert found["status"] == "STOPPED"
    assert found["trained"] is None
    assert found["steps"] >= 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "other"), "--model ('other') is not in the spec: use one of small"),
        (("--set", "trial.constraint.layers=9"), "names layer 9, but the model has 3 decoder layers"),
        (("--set", "data.task.path=nowhere.jsonl"), "nowhere.jsonl does not exist"),
        (("--set", "trial.safety_count=5", "--set", "trial.safety_share=0.1"), "exclude each other"),
    ],
)
def test_bad_input_is_refused_in_a_sentence_before_anything_starts(tmp_path, arguments, message):
    refused = procon(*arguments_of(tmp_path, *arguments), folder=tmp_path)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "out").exists()


METRICS = {"train/loss": 2.0, "train/penalty": 0.5, "train/tokens_per_second": 1234.5}


class TestProgress:
    def test_a_line_names_everything(self):
        progress = TrainProgress(Terminal(file=io.StringIO()), TrialConfig(steps=100))
        assert progress.line(10, METRICS, 83.0) == (
            "step 10/100  loss 2.0000  penalty 0.5000  penalty/CE 0.250  1,234 tokens/s  1:23 left"
        )
        progress.utilisation_per_token = 1e-4
        assert "MFU 12.3%" in progress.line(10, METRICS, 83.0)

    def test_elsewhere_than_in_a_terminal_every_report_is_a_line(self):
        file = io.StringIO()
        with TrainProgress(Terminal(file=file), TrialConfig(steps=20)) as progress:
            progress.begin()
            for step in (10, 20):
                progress.report(step, METRICS)
        assert [line.split()[:2] for line in file.getvalue().splitlines()][1:] == [["step", "10/20"], ["step", "20/20"]]
