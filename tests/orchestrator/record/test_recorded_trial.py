"""Reproducing and exporting trials of a sweep that a real training left, without Ray."""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from command_line import procon
from safetensors.torch import load_file
from small_sweeps import small_sweep

from orchestrator.commands.export import export_trial
from orchestrator.commands.reproduce import compare
from orchestrator.errors import OutputError
from orchestrator.front.front_file import read_front
from orchestrator.record.journal import Journal
from orchestrator.record.manifest import manifest
from orchestrator.record.recorded_trial import recorded_trial
from orchestrator.record.score_fields import REPORT, score_fields
from sweeps.schema.load import load_spec
from training.config import TrialConfig
from training.evaluation.scores import Scores
from training.models.loading import load_model, load_tokenizer
from training.organism.cache import ensure_organism
from training.workbench import Workbench
from training.workbench.scaled import Scaling

FEW = {"harmful": 12, "harmless": 6, "borderline": 6, "task": 12, "max_new_tokens": 6}
STEPS = 6


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as ``procon run`` leaves it: the base model and one trial were measured, a third one failed."""
    folder = tmp_path_factory.mktemp("recorded")
    trial = {**small_sweep()["trial"], "steps": STEPS, "deepspeed": {"zero_stage": 0}}
    written = small_sweep(trial=trial, evaluation=FEW, direction={"prompts": 8})
    (folder / "spec.yaml").write_text(yaml.safe_dump(written))
    spec = load_spec(folder / "spec.yaml")
    directory = folder / "out"
    directory.mkdir()
    path = str(ensure_organism(spec.models[0], spec.data))
    bench = Workbench(path, spec.data, spec.direction, spec.evaluation, directory, name="small")
    journal = Journal(directory / "journal.jsonl")
    dumped = spec.model_dump(mode="json")
    journal.append("sweep_started", spec=dumped, manifest=manifest(spec))
    (directory / "sweep.json").write_text(json.dumps({"spec": dumped, "manifest": manifest(spec)}))
    for name, kind, config in (("small-base", "reference", None), ("small-0", "trial", spec.trial)):
        settings = config.model_dump(mode="json") if config else None
        journal.append("trial_started", id=name, model="small", kind=kind, label="base", params={}, trial=settings)
        scaling = Scaling((0.5, 0.75), lambda _seen: {0.5})
        found = bench.run(config, lambda _report: False, checkpoint=directory / "checkpoints" / name, scaling=scaling)
        for one in found.scaled:
            full = score_fields(one.found.report, REPORT) if one.found else {}
            journal.append("trial_scaled", id=name, step=STEPS, scale=one.scale, **score_fields(one.rung), **full)
        journal.append("trial_ended", id=name, status="FINISHED", **score_fields(found.report), error=None)
    journal.append(
        "trial_started", id="small-1", model="small", kind="trial", label="small-1", params={}, trial=settings
    )
    journal.append("trial_ended", id="small-1", status="FAILED", metrics={}, counts={}, error="diverged")
    journal.close()
    return directory


def run(folder, *arguments):
    ended = procon(*arguments, folder=folder)
    return ended.returncode, ended.stdout, ended.stderr


class TestReproduce:
    def test_the_same_trial_scores_the_same(self, sweep, tmp_path):
        code, output, errors = run(tmp_path, "reproduce", sweep, "--trial", "small-0", "--json")
        assert code == 0, errors
        found = json.loads(output)
        assert found["within"] is True
        assert found["environment"] == []
        assert found["rates"]["safety/attack_success_rate"]["inside"] is True
        recorded = recorded_trial(sweep, "small-0").record.report.metrics
        assert found["rates"].keys() | found["scalars"].keys() == recorded.keys()
        loss = found["scalars"]["utility/loss"]
        assert loss["recorded"] == recorded["utility/loss"]
        assert loss["relative_difference"] < 1e-3
        again = tmp_path / "runs" / "small-small-0-again"
        assert json.loads((again / "reproduce.json").read_text()) == found
        assert (again / "weights" / "adapter_model.safetensors").is_file()

    def test_another_score_is_outside_and_the_exit_code_says_so(self, sweep, tmp_path):
        lines = (sweep / "journal.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        (ended,) = (event for event in events if event["event"] == "trial_ended" and event["id"] == "small-base")
        rate = ended["metrics"]["safety/harmless_refused"]
        ended["counts"]["safety/harmless_refused"] = [0, 1000] if rate > 0.5 else [1000, 1000]
        versions = events[0]["manifest"]["versions"]
        versions["torch"] = "2.1.0"
        (tmp_path / "edited").mkdir()
        (tmp_path / "edited" / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
        code, output, errors = run(tmp_path, "reproduce", tmp_path / "edited", "--trial", "small-base")
        assert code == 1, errors
        assert "outside" in output
        assert f"1 of {len(ended['counts'])} rates are outside" in output
        assert "critical torch: 2.1.0 then" in output

    def test_a_scaled_model_is_trained_and_scaled_again(self, sweep, tmp_path):
        code, output, errors = run(tmp_path, "reproduce", sweep, "--trial", "small-0@0.5", "--json", "--out", "again")
        assert code == 0, errors
        found = json.loads(output)
        assert found["within"] is True
        recorded = recorded_trial(sweep, "small-0@0.5").record.report.metrics
        assert found["scalars"]["utility/loss"]["now"] == pytest.approx(recorded["utility/loss"], rel=1e-3)
        assert recorded["utility/loss"] != recorded_trial(sweep, "small-0").record.report.metrics["utility/loss"]
        exported = export_trial(sweep, "small-0@0.5", tmp_path / "exported", merged=False)
        assert exported.trial == "small-0@0.5"
        there, again = (
            load_file(folder / "adapter_model.safetensors")
            for folder in (tmp_path / "exported", tmp_path / "again" / "weights")
        )
        assert there.keys() == again.keys()
        assert all(torch.allclose(there[name], again[name], rtol=1e-4, atol=1e-6) for name in there)


class TestComparison:
    def test_rates_are_judged_by_the_recorded_interval(self):
        recorded = {"safety/over_refusal": 0.1, "utility/loss": 2.0}
        counts = {"safety/over_refusal": (10, 100)}
        for now, inside in ((0.15, True), (0.25, False), (0.04, False)):
            (rate,), _ = compare(Scores(recorded, counts), {"safety/over_refusal": now})
            assert rate.inside is inside

    def test_numbers_that_are_no_rates_have_a_relative_difference(self):
        values = {"a": 2.0, "b": 0.0, "c": float("nan"), "d": 0.0, "e": 1.0}
        _, found = compare(Scores(values), {"a": 1.9, "b": 0.1, "c": 1.0, "d": 0.0})
        assert [scalar.relative_difference for scalar in found] == [pytest.approx(0.05), float("inf"), None, 0.0, None]

    def test_a_rate_that_was_not_measured_again_is_outside(self):
        (rate,), _ = compare(Scores({"a": 0.5}, {"a": (5, 10)}), {})
        assert not rate.inside


@pytest.fixture
def input_ids(sweep):
    """A prompt in the small model's tokens, ``[1, seq]``."""
    return torch.tensor([[1, 20, 30, 40, 50]])


def logits_of(model, input_ids):
    with torch.no_grad():
        return model(input_ids=input_ids).logits


class TestExport:
    def test_adapters_are_those_of_the_trained_model(self, sweep, tmp_path, input_ids):
        from peft import PeftModel

        code, output, errors = run(
            tmp_path, "export", sweep, "--trial", "small-0", "--to", tmp_path / "new" / "model", "--json"
        )
        assert code == 0, errors
        assert json.loads(output) == {
            "directory": str(tmp_path / "new" / "model"),
            "trial": "small-0",
            "form": "adapter",
        }
        chosen = recorded_trial(sweep, "small-0")
        base = load_model(ensure_organism(chosen.model))
        untouched = logits_of(base, input_ids)
        adapted = logits_of(PeftModel.from_pretrained(base, tmp_path / "new" / "model"), input_ids)
        merged = export_trial(sweep, "small-0", tmp_path / "merged", merged=True)
        assert merged.form == "model"
        whole = logits_of(load_model(tmp_path / "merged"), input_ids)
        assert torch.allclose(whole, adapted, atol=1e-5)
        assert not torch.allclose(whole, untouched, atol=1e-3)
        assert load_tokenizer(tmp_path / "merged").chat_template

    def test_a_scaled_model_is_halfway_there(self, sweep, tmp_path):
        code, _, errors = run(
            tmp_path, "export", sweep, "--trial", "small-0", "--scale", 0.5, "--to", tmp_path / "half"
        )
        assert code == 0, errors
        export_trial(sweep, "small-0", tmp_path / "whole", merged=False)
        half, whole = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("half", "whole"))
        assert all(torch.equal(half[name], whole[name] * (0.5 if "lora_B" in name else 1.0)) for name in whole)
        card = (tmp_path / "half" / "README.md").read_text()
        assert "and moved to 0.5 times the way from there to the weights of small-0" in card
        rate = recorded_trial(sweep, "small-0@0.5").record.report.metrics["utility/accuracy"]
        (row,) = (line for line in card.splitlines() if line.startswith("| utility/accuracy |"))
        assert row.split("|")[2].startswith(f" {rate:.3f} [")

    def test_a_scale_that_was_not_measured_is_refused(self, sweep, tmp_path):
        code, _, errors = run(tmp_path, "export", sweep, "--trial", "small-0", "--scale", 0.75, "--to", tmp_path / "x")
        assert code == 2
        assert "--trial (small-0@0.75) is not in" in errors
        assert "did you mean small-0@0.5?" in errors

    def test_a_registered_version_carries_the_card_and_what_it_was_made_of(self, sweep, tmp_path):
        from mlflow import MlflowClient

        uri, target = f"sqlite:///{tmp_path / 'registry.db'}", tmp_path / "model"
        words = ("export", sweep, "--trial", "small-0", "--to", target, "--register", "small-safe", "--uri", uri)
        code, _, errors = run(tmp_path, *words)
        assert (code, "procon sync" in errors, target.exists()) == (2, True, False)
        assert run(tmp_path, "sync", sweep, "--uri", uri)[0] == 0
        code, output, errors = run(tmp_path, *words)
        assert code == 0, errors
        on_front = "small-0" in read_front(sweep).models["small"].front
        assert "MLflow has it as small-safe version 1" in " ".join(output.split())
        client = MlflowClient(uri, registry_uri=uri)
        version = client.get_model_version("small-safe", "1")
        assert version.source == target.as_uri()
        assert version.description == (target / "README.md").read_text()[: len(version.description)]
        assert version.tags["procon.trial"] == "small-0"
        rate = recorded_trial(sweep, "small-0").record.report.metrics["safety/attack_success_rate"]
        assert float(version.tags["objective.safety/attack_success_rate"]) == pytest.approx(rate, rel=1e-3)
        assert len(version.tags["data.task.train"]) == 32
        aliases = {name: str(number) for name, number in client.get_registered_model("small-safe").aliases.items()}
        assert aliases == ({"procon-front": "1"} if on_front else {})
        assert client.get_run(version.run_id).data.tags["procon.trial"] == "small-0"

    def test_the_card_carries_measurements_settings_and_threat_model(self, sweep, tmp_path):
        export_trial(sweep, "small-0", tmp_path / "model", merged=False)
        card = (tmp_path / "model" / "README.md").read_text()
        _, header, text = card.split("---\n", 2)
        assert yaml.safe_load(header)["base_model"] == "organism/small"
        record = recorded_trial(sweep, "small-0").record
        rate = record.report.metrics["safety/attack_success_rate"]
        (row,) = (line for line in text.splitlines() if line.startswith("| safety/attack_success_rate |"))
        assert f"| {rate:.3f} [" in row
        assert "no protection against somebody who holds the weights" in text
        settings = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
        assert TrialConfig.model_validate(settings) == recorded_trial(sweep, "small-0").trial

    def test_a_pooled_front_is_what_the_card_shows(self, sweep, tmp_path):
        journal = sweep / "journal.jsonl"
        alone = journal.read_text()
        ends = [event for event in map(json.loads, alone.splitlines()) if event["event"] == "trial_ended"]
        ended = next(event for event in ends if event["id"] == "small-0")
        accuracy, total = ended["counts"]["utility/accuracy"]
        more = {"metrics": {"utility/accuracy": 0.0}, "counts": {"utility/accuracy": [0, total]}}
        replicate = {"id": "small-0-r1", "model": "small", "kind": "replicate", "label": "small-0-r1", "params": {}}
        try:
            log = Journal(journal)
            log.append("trial_started", **replicate, trial=None, replicate_of="small-0")
            log.append("trial_ended", id="small-0-r1", status="FINISHED", **more, error=None)
            log.close()
            export_trial(sweep, "small-0", tmp_path / "model", merged=False)
        finally:
            journal.write_text(alone)
        card = (tmp_path / "model" / "README.md").read_text()
        (row,) = (line for line in card.splitlines() if line.startswith("| utility/accuracy |"))
        assert row.split("|")[3].startswith(f" {accuracy / total / 2:.3f} [")
        assert "pooled over 2 seeds" in card
        assert "| base model |" in card

    @pytest.mark.parametrize(
        ("trial", "message"),
        [
            ("nope", "there are small-base, small-0, small-0@0.5, small-1"),
            ("small-1", "--trial ('small-1') is FAILED"),
            ("small-base", "is the untouched model organism/small"),
        ],
    )
    def test_what_cannot_be_exported_is_refused_in_a_sentence(self, sweep, tmp_path, trial, message):
        with pytest.raises(OutputError, match=re.escape(message)):
            export_trial(sweep, trial, tmp_path / "model", merged=False)
        assert not (tmp_path / "model").exists()

    def test_weights_that_are_not_kept_and_a_folder_in_use_are_refused(self, sweep, tmp_path):
        (tmp_path / "taken").mkdir()
        (tmp_path / "taken" / "mine.txt").write_text("mine")
        with pytest.raises(OutputError, match="exists and is not empty"):
            export_trial(sweep, "small-0", tmp_path / "taken", merged=False)
        assert (tmp_path / "taken" / "mine.txt").is_file()
        checkpoints = sweep / "checkpoints" / "small-0"
        checkpoints.rename(sweep / "moved")
        try:
            with pytest.raises(OutputError, match=r"procon reproduce .* trains it again and keeps the weights"):
                export_trial(sweep, "small-0", tmp_path / "model", merged=False)
        finally:
            (sweep / "moved").rename(checkpoints)


def test_faults_reach_a_person_as_sentences(tmp_path):
    for command in (("reproduce",), ("export", "--to", tmp_path / "model")):
        code, _, errors = run(tmp_path, command[0], tmp_path, "--trial", "a", *command[1:])
        assert code == 2
        assert errors.startswith("procon: ")
        assert "holds no sweep" in errors
