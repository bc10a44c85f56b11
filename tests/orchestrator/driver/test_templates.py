"""The presets that people copy: loaded, planned and run at toy size on a random model of their architecture."""

import io
import math
from pathlib import Path

import pytest
from toy_inputs import write_toy_data, write_toy_llama
from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.commands.plan.estimate import make_plan
from orchestrator.commands.train import train_one
from orchestrator.driver.sweep import run_sweep
from orchestrator.terminal import Terminal
from sweeps.schema.load import load_spec
from sweeps.schema.spec import SweepSpec

TEMPLATES = ("llm-1b-laptop-gpu", "llm-8b-one-gpu", "llm-8b-node")
PAPER = ("paper-wu-safe", "paper-attack", "paper-gsm8k")
TOY = (
    "evaluation.judges=[{type: phrases}]",  # the others' weights are not here
    "resources.gpus_per_worker=0",
    "resources.cpus_per_worker=1",
    "trial.micro_batch_size=2",
    "trial.batch_size=4",
    "trial.max_length=128",
    "evaluation.harmful=8",
    "evaluation.harmless=8",
    "evaluation.borderline=8",
    "evaluation.task=8",
    "evaluation.max_new_tokens=4",
    "evaluation.max_length=256",
    "direction.prompts=4",
    "direction.filter=false",  # a random model refuses nothing
    "direction.causal=null",
)


@pytest.fixture(scope="module")
def toy_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_toy_llama(folder)
    return folder


def toy(preset: str, model: Path, data: Path, *more: str) -> SweepSpec:
    """``preset`` with everything that decides its size set to a toy's, as a person would try it out."""
    spec = load_spec(preset, [f"models.0.path={model}", f"data_root={data}", *TOY, *more])
    write_toy_data(spec.data)
    return spec


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_has_what_a_large_model_needs(name: str) -> None:
    spec = load_spec(name)
    trial = spec.trial
    assert (trial.learning_rate, trial.precision, trial.max_length) == (2e-4, "bf16", 2048)
    assert trial.gradient_checkpointing
    assert trial.deepspeed.zero_stage >= 1
    assert spec.evaluation.max_new_tokens == 512
    assert spec.pruning is not None
    assert spec.seeds.replicates_on_front > 1
    assert spec.budget.hours
    assert spec.resources.gpus_per_worker == 1


FAST = TEMPLATES[0], PAPER[0]
"""Of each kind one that every run of the tests trains."""


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in (*TEMPLATES, *PAPER)]
)
def test_it_is_planned_and_trained_on_a_random_model_of_its_architecture(
    name: str, toy_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    counts = ["trial.safety_count=4"] if name.startswith("paper") else []
    counts += ["trial.malicious_count=4"] if name == "paper-attack" else []
    spec = toy(name, toy_llama, tmp_path, *counts, "trial.epochs=0.2")
    plan = make_plan(spec, None, runs=tmp_path / "runs")
    assert plan.models[0].parameters
    assert plan.spec.trial.task_samples
    assert plan.spec.trial.steps == plan.spec.trial.steps_of(0.2) < 10
    outcome = train_one(spec, None, tmp_path / "out", Terminal(file=io.StringIO()))
    assert outcome.trained is not None
    assert outcome.steps == outcome.trial.total_steps
    for objective in spec.objectives:
        assert math.isfinite(outcome.trained.metrics[objective.metric]), objective.metric


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TEMPLATES, "paper-wu"])
def test_it_runs_as_a_sweep(name: str, toy_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    steps = ["trial.epochs=0.2", *(["trial.constraint.warmup_epochs=0.1"] if name == "paper-wu" else [])]
    trials = [] if name == "paper-wu" else ["trials=2", "seeds.replicates_on_front=0"]
    spec = toy(name, toy_llama, tmp_path, *steps, *trials)
    outcome = run_sweep(spec, tmp_path / "out", None, Terminal(file=io.StringIO()))
    assert not outcome.failed, [record.error for record in outcome.records]
    finished = [record.label for record in outcome.records if record.status == "FINISHED"]
    assert {"base", "ift", "ift_safety"} <= set(finished)


def test_init_copies_a_preset_and_touches_nothing_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    listed = runner.invoke(app, ["init"]).output
    assert "llm-8b-one-gpu" in listed
    assert "80 GB GPU" in listed
    made = runner.invoke(app, ["init", "llm-8b-one-gpu"])
    assert made.exit_code == 0
    assert load_spec(tmp_path / "llm-8b-one-gpu.yaml").trial == load_spec("llm-8b-one-gpu").trial
    (tmp_path / "llm-8b-one-gpu.yaml").write_text("mine")
    again = runner.invoke(app, ["init", "llm-8b-one-gpu"])
    assert "exists already" in str(again.exception)
    assert (tmp_path / "llm-8b-one-gpu.yaml").read_text() == "mine"
    assert "llm-8b-one-gpu" in str(runner.invoke(app, ["init", "llm-9b"]).exception)
