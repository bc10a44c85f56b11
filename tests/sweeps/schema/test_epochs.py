"""Lengths given as passes over the data."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.driver.epochs import with_counted_epochs
from sweeps.cost.cost import model_work
from sweeps.errors import SpecError
from sweeps.schema.load import change_spec, load_spec
from sweeps.schema.spec import SweepSpec
from training.config import TrialConfig

OBJECTIVES = [
    {"metric": "safety/mean_attack_success_rate", "goal": "minimize"},
    {"metric": "utility/accuracy", "goal": "maximize"},
]


def sweep(trial: dict[str, Any], search: dict[str, Any] | None = None) -> SweepSpec:
    names = {"general": "task", "safety": "safety", "harmful": "harmful", "harmless": "harmless"}
    data = {field: {"path": f"organism/small/{name}"} for name, field in names.items()}
    return SweepSpec.model_validate(
        {
            "name": "s",
            "models": [{"name": "m", "path": "organism/small"}],
            "data": {**data, "borderline": {"path": "organism/small/borderline"}},
            "trial": trial,
            "search": search or {},
            "objectives": OBJECTIVES,
            "trials": 1,
        }
    )


def test_the_papers_ten_epochs_are_exact() -> None:
    extra = {"alpha": 1.0, "warmup_epochs": 4, "warmup": "extra", "restart": True}
    trial = TrialConfig(epochs=10, task_samples=16_659, batch_size=32, constraint=extra)
    assert (trial.steps, trial.constraint.extra_steps) == (5206, 2083)
    assert 0 <= trial.steps * 32 - 10 * 16_659 < 32
    assert trial.total_steps == 5206 + 2083


@pytest.mark.parametrize(
    ("mixed_in", "samples"),
    [({"safety_count": 100}, 1100), ({"malicious_count": 24}, 1024), ({"safety_share": 0.2}, 1250)],
)
def test_a_pass_is_over_everything_that_is_trained_on(mixed_in: dict[str, Any], samples: int) -> None:
    trial = TrialConfig(epochs=2, task_samples=1000, batch_size=1, **mixed_in)
    assert trial.steps == 2 * samples


def test_a_sweep_counts_its_task_samples_once() -> None:
    spec = sweep({"epochs": 2.5, "batch_size": 32})
    counted = with_counted_epochs(spec)
    assert counted.trial.task_samples is not None
    assert counted.trial.steps == -(-5 * counted.trial.task_samples // 64)
    assert with_counted_epochs(counted) is counted
    plain = sweep({"steps": 7})
    assert with_counted_epochs(plain) is plain


def test_searched_values_change_what_a_pass_is() -> None:
    search = {"safety_count": {"type": "choice", "values": [0, 320]}, "epochs": {"type": "choice", "values": [1, 2]}}
    spec = sweep({"epochs": 1, "batch_size": 32}, search).with_task_samples(640)
    steps = {
        (count, epochs): spec.trial_config({"safety_count": count, "epochs": epochs}).steps
        for count in (0, 320)
        for epochs in (1, 2)
    }
    assert steps == {(0, 1): 20, (0, 2): 40, (320, 1): 30, (320, 2): 60}
    assert model_work(spec).steps == 60
    with_epochs = sweep({"batch_size": 32, "epochs": 1, "safety_count": 320}).with_task_samples(640)
    plain, safe = (with_epochs.reference_config(label) for label in ("ift", "ift_safety"))
    assert plain is not None
    assert safe is not None
    assert (plain.steps, safe.steps) == (20, 30)


def test_a_recorded_sweep_keeps_its_steps() -> None:
    counted = sweep({"epochs": 2, "constraint": {"warmup_epochs": 1, "warmup": "extra"}}).with_task_samples(320)
    assert SweepSpec.model_validate(counted.model_dump(mode="json")).trial == counted.trial
    longer = change_spec(counted, ["trial.epochs=4"])
    assert (longer.trial.steps, longer.trial.constraint.extra_steps) == (40, 10)
    with pytest.raises(SpecError, match=r"trial\.steps=5.* has no effect: trial\.epochs decides"):
        change_spec(counted, ["trial.steps=5"])
    assert change_spec(counted, ["trial.epochs=null", "trial.steps=5"]).trial.steps == 5
    assert change_spec(counted, ["data.task.limit=50"]).trial.task_samples is None


@pytest.mark.parametrize(
    ("trial", "search", "named"),
    [
        ({"steps": 5, "epochs": 1}, {}, r"trial\.steps and trial\.epochs"),
        ({"epochs": 1}, {"steps": {"type": "int", "low": 1, "high": 9}}, r"trial\.steps and trial\.epochs"),
        (
            {"constraint": {"warmup_steps": 5, "warmup_epochs": 1}},
            {},
            r"trial\.constraint\.warmup_steps and trial\.constraint\.warmup_epochs",
        ),
    ],
)
def test_a_length_is_given_once(trial: dict[str, Any], search: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        sweep(trial, search)


def test_epochs_of_a_preset_give_way_where_they_are_taken_away(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(yaml.safe_dump(sweep({"steps": 5}).model_dump(mode="json", exclude_unset=True)))
    with pytest.raises(SpecError, match=r"--set trial\.epochs=null"):
        load_spec(file, ["trial.epochs=3"])
    assert load_spec(file, ["trial.epochs=null"]).trial.steps == 5
