"""Whether models fit, from configurations of published sizes on machines that are made up."""

import io
import json

import pytest
import yaml
from published_shapes import LLAMA_8B
from small_sweeps import small_sweep

from orchestrator.commands.plan.estimate import make_plan
from orchestrator.commands.plan.table import plan_json, print_plan
from orchestrator.commands.train import train_one
from orchestrator.driver.fit import (
    check_memory,
    check_memory_of_one,
    check_memory_on_cluster,
    fit_of,
    memory_on_cluster,
    workers_on_node,
)
from orchestrator.driver.model_files import files_bytes, judge_bytes, model_shape
from orchestrator.driver.preflight import check_machine
from orchestrator.errors import ClusterError
from orchestrator.record.machine import Gpu, Machine
from orchestrator.terminal import Terminal
from sweeps.errors import SpecError
from sweeps.schema.load import load_spec
from sweeps.schema.resources import ResourcesConfig
from training.config import EvaluationConfig, ModelConfig

ON_GPU = ("resources.gpus_per_worker=1", "trial.precision=bf16", "trial.micro_batch_size=1", "trial.max_length=1024")


@pytest.fixture
def large(tmp_path):
    """A folder with the configuration of an 8B model and nothing else."""
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA_8B))
    return folder


def spec_of(folder, large, *overrides):
    (folder / "spec.yaml").write_text(yaml.safe_dump(small_sweep(search={})))
    return load_spec(folder / "spec.yaml", [f"models.0.path={large}", *overrides])


def machine_of(gigabytes, gpus=1):
    gpu = Gpu("made up", int(gigabytes * 1e9), 0)
    return Machine(cpus=8, memory=256 * 2**30, gpus=(gpu,) * gpus)


class TestRefusal:
    def test_a_model_that_cannot_fit_is_refused_with_what_would_fit(self, tmp_path, large):
        spec = spec_of(tmp_path, large, *ON_GPU, "trial.tuning.type=full")
        with pytest.raises(ClusterError) as refused:
            check_memory(spec, machine_of(80))
        said = str(refused.value)
        assert f"models.0.path ({large}) cannot fit as configured" in said
        assert "weights 29.9 GiB" in said
        assert "LoRA" in said
        assert "resources.check_memory=false" in said

    def test_it_is_part_of_the_check_of_the_machine(self, tmp_path, large):
        spec = spec_of(tmp_path, large, *ON_GPU, "trial.tuning.type=full")
        with pytest.raises(ClusterError, match="cannot fit as configured"):
            check_machine(spec, machine_of(80))
        unchecked = ResourcesConfig(gpus_per_worker=1, check_memory=False)
        check_machine(spec.model_copy(update={"resources": unchecked}), machine_of(80))

    @pytest.mark.parametrize(
        "overrides", [("trial.gradient_checkpointing=true",), ("trial.max_length=32768", "evaluation.max_length=32768")]
    )
    def test_what_fits_or_may_fit_with_shorter_samples_is_let_through(self, tmp_path, large, overrides):
        check_memory(spec_of(tmp_path, large, *ON_GPU, *overrides), machine_of(80))

    def test_without_a_known_device_or_architecture_nothing_is_refused(self, tmp_path, large):
        spec = spec_of(tmp_path, large, *ON_GPU, "trial.tuning.type=full")
        check_memory(spec, machine_of(80, gpus=0))
        (large / "config.json").write_text(json.dumps({**LLAMA_8B, "model_type": "falcon_h1"}))
        check_memory(spec, machine_of(1))

    def test_on_the_cpu_workers_share_the_machine(self, tmp_path, large):
        machine = Machine(cpus=8, memory=128 * 2**30, gpus=())
        check_memory(spec_of(tmp_path, large), machine)
        with pytest.raises(ClusterError, match="cannot fit"):
            check_memory(spec_of(tmp_path, large, "resources.workers=8"), machine)


class TestFit:
    def test_it_is_of_the_hungriest_trial_that_the_search_can_draw(self, tmp_path, large):
        longer = "search.max_length={type: choice, values: [256, 4096]}"
        fits = [
            fit_of(spec, spec.models[0], model_shape(spec.models[0]), 80e9, 1)
            for spec in (spec_of(tmp_path, large, *ON_GPU), spec_of(tmp_path, large, *ON_GPU, longer))
        ]
        assert fits[1].training.activations > 3 * fits[0].training.activations

    def test_where_the_device_is_unknown_the_smallest_that_holds_it_is_named(self, tmp_path, large):
        spec = spec_of(tmp_path, large, *ON_GPU, "trial.gradient_checkpointing=true", "trial.deepspeed.zero_stage=1")
        fit = fit_of(spec, spec.models[0], model_shape(spec.models[0]), None, 1)
        assert (fit.smallest, fit.fits, fit.answers, fit.impossible) == (24, None, None, False)

    def test_an_incomplete_configuration_is_completed_by_transformers(self, tmp_path, large):
        written = {"model_type": "gemma3_text", "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128}
        (large / "config.json").write_text(json.dumps(written))
        shape = model_shape(ModelConfig(name="m", path=str(large)))
        assert (shape.heads, shape.vocabulary) == (8, 262208)

    def test_files_are_counted_as_they_are_and_judges_where_they_share_the_device(self, tmp_path, large):
        model = ModelConfig(name="m", path=str(large))
        assert files_bytes(model, model_shape(model)) == 2 * model_shape(model).parameters
        (large / "model.safetensors").write_bytes(b"0" * 1000)
        assert files_bytes(model, model_shape(model)) == 1000
        judge = {"type": "generative", "model": str(large), "format": "wildguard"}
        for device, gpu, expected in (("auto", True, 1000), ("cpu", True, 0), ("cpu", False, 1000)):
            evaluation = EvaluationConfig.model_validate({"judges": [{**judge, "device": device}]})
            assert judge_bytes(evaluation, gpu=gpu) == expected


class TestCluster:
    def test_memory_is_that_of_the_smallest_gpu_that_ray_names(self):
        resources = ResourcesConfig(gpus_per_worker=0.5)
        nodes = [{"GPU": 8, "accelerator_type:H100": 1.0}, {"GPU": 4, "accelerator_type:L4": 1.0}, {"CPU": 8}]
        assert memory_on_cluster(resources, nodes) == 12e9
        assert memory_on_cluster(resources, [{"GPU": 8, "accelerator_type:A100": 1.0}]) is None
        assert memory_on_cluster(resources, [{"GPU": 8}]) is None
        assert memory_on_cluster(ResourcesConfig(), nodes) is None

    def test_workers_of_a_node_are_bounded_by_cores_gpus_and_trials(self):
        nodes = [{"CPU": 64, "GPU": 8}]
        resources = ResourcesConfig(workers=4, cpus_per_worker=2, gpus_per_worker=1)
        assert workers_on_node(resources, nodes, slots=2) == 8
        assert workers_on_node(resources, nodes, slots=1) == 4
        assert workers_on_node(resources.model_copy(update={"cpus_per_worker": 32}), nodes, slots=2) == 2

    def test_what_cannot_fit_its_gpus_is_refused_where_they_are_known(self, tmp_path, large):
        spec = spec_of(tmp_path, large, *ON_GPU, "trial.tuning.type=full")
        nodes = [{"CPU": 64, "GPU": 8, "accelerator_type:L4": 1.0}]
        with pytest.raises(ClusterError, match="cannot fit as configured"):
            check_memory_on_cluster(spec, nodes)
        check_memory_on_cluster(spec, [{"CPU": 64, "GPU": 8}])
        check_memory_on_cluster(spec, [{"CPU": 64, "GPU": 8, "accelerator_type:B200": 1.0}])

    def test_a_group_that_lost_nodes_has_to_fit_too(self, tmp_path, large):
        sharded = ("trial.tuning.type=full", "trial.deepspeed.zero_stage=3", "resources.workers=8")
        nodes = [{"CPU": 64, "GPU": 8, "accelerator_type:H100": 1.0}]
        check_memory_on_cluster(spec_of(tmp_path, large, *ON_GPU, *sharded), nodes)
        check_memory_on_cluster(spec_of(tmp_path, large, *ON_GPU, *sharded, "resources.min_workers=4"), nodes)
        with pytest.raises(ClusterError, match=r"min_workers lets it shrink to 1 of 8 workers, and .* needs about"):
            check_memory_on_cluster(spec_of(tmp_path, large, *ON_GPU, *sharded, "resources.min_workers=1"), nodes)

    def test_the_plan_for_it_refuses_what_run_refuses(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PROCON_CACHE", str(tmp_path / "cache"))
        nodes = [{"CPU": 64, "GPU": 8, "accelerator_type:T4": 1.0}]
        monkeypatch.setattr("orchestrator.commands.plan.estimate.cluster_nodes", lambda _address: nodes)
        (tmp_path / "spec.yaml").write_text(yaml.safe_dump(small_sweep(search={})))
        spec = load_spec(tmp_path / "spec.yaml", ["resources.gpus_per_worker=0.0001"])
        refused = make_plan(spec, "there:6379", runs=tmp_path / "runs").refusal
        assert "cannot fit as configured" in refused
        assert "procon run would refuse" in refused


class TestOneTraining:
    def test_it_has_a_whole_gpu_and_the_trial_as_it_stands(self, tmp_path, large):
        searched = "search.tuning={type: choice, values: [{type: full}]}"
        spec = spec_of(tmp_path, large, "trial.precision=bf16", "resources.workers=8", searched)
        check_memory_of_one(spec, spec.models[0], machine_of(24))
        with pytest.raises(ClusterError, match=r"models\.0\.path .* cannot fit as configured"):
            check_memory_of_one(spec, spec.models[0], machine_of(12))

    def test_procon_train_refuses_before_it_makes_a_folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PROCON_CACHE", str(tmp_path / "cache"))
        small = Machine(cpus=8, memory=2**20, gpus=())
        monkeypatch.setattr("orchestrator.driver.fit.this_machine", lambda: small)
        (tmp_path / "spec.yaml").write_text(yaml.safe_dump(small_sweep(search={})))
        spec = load_spec(tmp_path / "spec.yaml", [])
        with pytest.raises(ClusterError, match="cannot fit as configured"):
            train_one(spec, None, tmp_path / "out", Terminal(file=io.StringIO()))
        assert not (tmp_path / "out").exists()


def test_the_plan_refuses_what_run_refuses(tmp_path, monkeypatch):
    monkeypatch.setenv("PROCON_CACHE", str(tmp_path / "cache"))
    small = Machine(cpus=8, memory=2**20, gpus=())
    monkeypatch.setattr("orchestrator.commands.plan.estimate.this_machine", lambda: small)
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(small_sweep(search={})))
    spec = load_spec(tmp_path / "spec.yaml", [])
    with pytest.raises(ClusterError, match="cannot fit as configured"):
        check_machine(spec, small)
    refused = make_plan(spec, None, runs=tmp_path / "runs").refusal
    assert "cannot fit as configured" in refused
    assert "procon run would refuse" in refused


def test_attention_that_cannot_be_computed_here_is_refused(tmp_path, large):
    flash = "models.0.attn_implementation=flash_attention_2"
    with pytest.raises(SpecError, match=r"models\.0\.attn_implementation \(flash_attention_2\) needs a CUDA device"):
        check_machine(spec_of(tmp_path, large, flash), machine_of(80))
    spec = spec_of(tmp_path, large, "models.0.attn_implementation=eager")
    shape = model_shape(spec.models[0])
    assert shape.scores == "plain"


def test_the_plan_says_memory_answers_and_checkpoints(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PROCON_CACHE", str(tmp_path / "cache"))
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(small_sweep(search={})))
    plan = make_plan(load_spec(tmp_path / "spec.yaml", []), None, runs=tmp_path / "runs")
    memory = json.loads(json.dumps(plan_json(plan)))["models"]["small"]["memory"]
    assert memory["fits"] is True
    assert memory["total"] == pytest.approx(sum(plan.models[0].fit.training.parts.values()))
    assert memory["answering"]["answers_that_fit"] > 0
    print_plan(plan, Terminal())
    said = " ".join(capsys.readouterr().out.split())
    for words in ("a worker", "of the longest at once", "written a trial"):
        assert words in said
