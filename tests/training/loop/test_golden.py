"""Fifty steps of four configurations against what they were when they were last looked at.

A difference means that training computes something else than before. Where that is intended, write them anew with

    python -m pytest tests/training/loop/test_golden.py --write-golden

and say in the commit why they moved.
"""

import json
from pathlib import Path

import pytest
from resumption import run

GOLDEN = Path(__file__).with_name("golden")

CASES = {
    "lora-abs-zero2": {
        "tuning": {"type": "lora", "rank": 4},
        "constraint": {"alpha": 0.3},
        "deepspeed": {"zero_stage": 2},
        "micro_batch_size": 4,
    },
    "lora-token_l2-two-stage-zero0": {
        "tuning": {"type": "lora", "rank": 4},
        "constraint": {"alpha": 1.0, "warmup_steps": 20, "norm": "token_l2", "alpha_scale": "separation"},
        "deepspeed": {"zero_stage": 0},
    },
    "full-squared-band-zero3": {
        "tuning": {"type": "full"},
        "learning_rate": 1e-3,
        "constraint": {"alpha": 0.1, "layers": "0-1", "norm": "squared"},
        "deepspeed": {"zero_stage": 3},
        "weight_decay": 0.1,
    },
    "full-plain-linear-zero1": {
        "tuning": {"type": "full"},
        "learning_rate": 1e-3,
        "lr_schedule": "linear",
        "constraint": {"alpha": 0.0},
        "deepspeed": {"zero_stage": 1},
    },
}

COLUMNS = ("train/loss", "train/penalty", "train/gradient_norm")


@pytest.mark.usefixtures("process")
@pytest.mark.parametrize("name", CASES)
def test_trajectory_is_the_committed_one(name, request):
    found = run({"steps": 50, "learning_rate": 3e-3, **CASES[name]})["metrics"]
    columns = {column: [metrics[column] for metrics in found] for column in COLUMNS}
    path = GOLDEN / f"{name}.json"
    if request.config.getoption("--write-golden"):
        path.parent.mkdir(exist_ok=True)
        rounded = {column: [float(f"{value:.7g}") for value in values] for column, values in columns.items()}
        path.write_text(json.dumps(rounded, indent=1) + "\n")
    golden = json.loads(path.read_text())
    # Other processors add float32 in another order; fifty steps of AdamW carry that into the fourth digit.
    assert columns["train/loss"] == pytest.approx(golden["train/loss"], rel=1e-3)
    assert columns["train/penalty"] == pytest.approx(golden["train/penalty"], rel=1e-2, abs=1e-5)
    assert columns["train/gradient_norm"] == pytest.approx(golden["train/gradient_norm"], rel=5e-3)
    assert golden["train/loss"][-1] < golden["train/loss"][0]
