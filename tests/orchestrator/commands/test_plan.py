"""What a sweep would take, from files and stored figures alone; one test measures for real."""

import json
import os
import time

import pytest
import yaml
from command_line import procon
from small_sweeps import small_sweep

from orchestrator.commands.plan.estimate import make_plan
from orchestrator.commands.plan.table import plan_json
from orchestrator.driver.fit import available_memory
from orchestrator.driver.model_files import model_shape, sample_length
from orchestrator.errors import TrackingError
from orchestrator.record.machine import Gpu, Machine
from orchestrator.record.manifest import hardware, manifest
from orchestrator.record.measured import measured_figures, measured_frame
from orchestrator.record.sweep_state import SweepState
from orchestrator.record.timings import USUAL, store_figures, store_sweep, stored_figures, stored_frame
from sweeps.cost.cost import HEADROOM, Figures, Frame, Work, sweep_seconds
from sweeps.errors import SpecError
from sweeps.schema.load import load_spec
from training.config import ModelConfig, Source
from training.data.encoding import encode_source
from training.models.loading import load_model, load_tokenizer
from training.organism.cache import ensure_organism
from training.organism.recipe import BUILD_SECONDS


def loaded(folder, *overrides, **changes):
    (folder / "spec.yaml").write_text(yaml.safe_dump(small_sweep(**changes)))
    return load_spec(folder / "spec.yaml", overrides)


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """A cache without models and figures."""
    monkeypatch.setenv("PROCON_CACHE", str(tmp_path / "cache"))


FIGURES = Figures(seconds_per_step=0.5, seconds_beside=4.0, seconds_once=3.0)


class TestPlan:
    def test_it_counts_without_building_or_writing_anything(self, tmp_path, empty_cache):
        spec = loaded(tmp_path, "models.0.seed=1")  # seed 0 comes with the package
        plan = make_plan(spec, None, runs=tmp_path / "runs")
        (model,) = plan.models
        assert (model.work.trials, model.work.total_steps) == (3 + 4, (2 + 4) * 12)
        assert model.tokens == 6 * 12 * 16 * 96  # no tokenizer yet: the bound
        assert not model.length.measured
        assert plan.seconds is None
        assert "small is not built yet" in plan.warnings[0]
        assert model.build_seconds == BUILD_SECONDS["organism/small"]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["spec.yaml"]
        found = json.loads(json.dumps(plan_json(plan)))
        assert (found["estimate"], found["models"]["small"]["seconds_per_step"]) == (None, None)

    def test_figures_become_hours_and_money(self, tmp_path, empty_cache):
        spec = loaded(tmp_path, resources={"max_concurrent": 1, "price_per_hour": 3600})
        store_figures(spec, spec.models[0], FIGURES)
        plan = make_plan(spec, None, runs=tmp_path / "runs")
        assert plan.slots == 1
        assert plan.frame == USUAL
        beside = USUAL.seconds_start + USUAL.seconds_end
        assert plan.seconds == pytest.approx(6 * 12 * 0.5 + 7 * 4.0 + 3.0 + beside)
        assert plan.seconds_at_most == pytest.approx(plan.seconds * HEADROOM)
        assert plan.estimate is not None
        assert plan.estimate.money == pytest.approx(plan.seconds_at_most)
        assert plan.over_budget is None

    def test_a_budget_below_the_estimate_is_told(self, tmp_path, empty_cache):
        spec = loaded(tmp_path, budget={"hours": 0.001})
        store_figures(spec, spec.models[0], FIGURES)
        plan = make_plan(spec, None, runs=tmp_path / "runs")
        assert any("budget.hours (0.001) is spent" in warning for warning in plan.warnings)

    def test_without_room_for_one_slot_it_says_so(self, tmp_path, empty_cache):
        plan = make_plan(loaded(tmp_path, resources={"cpus_per_worker": 10_000}), None, runs=tmp_path / "runs")
        assert plan.fitting == 0
        assert "do not fit this machine" in plan.warnings[0]

    @pytest.mark.parametrize(
        ("override", "error"),
        [
            ("trial.constraint.layers=9", SpecError),
            ("objectives.0.metric=direction/cosine/layer_07", SpecError),
        ],
    )
    def test_everything_that_a_run_refuses_is_refused(self, tmp_path, empty_cache, override, error):
        with pytest.raises(error, match="layer"):
            make_plan(loaded(tmp_path, override, "objectives.0.worst=1"), None, runs=tmp_path / "runs")

    def test_a_store_that_cannot_be_used_is_refused(self, tmp_path, empty_cache, monkeypatch):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "ftp://nowhere")
        with pytest.raises(TrackingError, match="ftp://nowhere"):
            make_plan(loaded(tmp_path), None, runs=tmp_path / "runs")


class TestMemory:
    def test_workers_on_the_cpu_share_the_machine(self, tmp_path):
        machine = Machine(cpus=8, memory=32 * 2**30, gpus=())
        for resources, share in (({}, 8), ({"workers": 2}, 8), ({"max_concurrent": 2}, 2)):
            spec = loaded(tmp_path, resources=resources)
            fitting = 8 // spec.resources.workers
            assert available_memory(spec, machine, fitting) == 32 * 2**30 / share

    def test_a_worker_has_its_part_of_the_smallest_gpu(self, tmp_path):
        gpus = (Gpu("big", 80 * 2**30, 0), Gpu("small", 24 * 2**30, 0))
        machine = Machine(cpus=8, memory=32 * 2**30, gpus=gpus)
        for share, expected in ((1, 24), (0.5, 12), (2, 24)):
            spec = loaded(tmp_path, resources={"gpus_per_worker": share})
            assert available_memory(spec, machine, 1) == expected * 2**30
        assert available_memory(spec, Machine(8, 32 * 2**30, ()), 1) is None

    def test_what_does_not_fit_is_told(self, tmp_path, empty_cache):
        trial = {**small_sweep()["trial"], "max_length": 10**9}
        plan = make_plan(loaded(tmp_path, trial=trial), None, runs=tmp_path / "runs")
        assert any("small needs about" in warning and "per worker" in warning for warning in plan.warnings)


class TestModelFiles:
    def test_shape_and_sample_length_are_those_of_the_real_model(self):
        model = ModelConfig(name="small", path="organism/small")
        folder = ensure_organism(model)
        shape = model_shape(model)
        assert shape is not None
        assert shape.parameters == load_model(folder).num_parameters()
        task = Source(path="organism/small/general")
        found = sample_length(folder, task, 96)
        samples = encode_source(
            task, "train", field="data.task", tokenizer=load_tokenizer(folder), max_length=96
        ).samples
        assert found.measured
        assert found.tokens == pytest.approx(samples.lengths.mean(), rel=0.05)

    def test_a_local_folder_tells_its_shape_and_a_large_file_is_not_read(self, tmp_path, monkeypatch):
        folder = ensure_organism(ModelConfig(name="small", path="organism/small"))
        local = ModelConfig(name="local", path=str(folder))
        assert model_shape(local) == model_shape(ModelConfig(name="small", path="organism/small"))
        rows = tmp_path / "rows.jsonl"
        rows.write_text('{"prompt": "What is it?", "response": "A thing."}\n' * 3)
        assert sample_length(folder, Source(path=str(rows)), 96).measured
        monkeypatch.setattr("orchestrator.driver.model_files.LARGEST_FILE", 10)
        assert sample_length(folder, Source(path=str(rows)), 96).tokens == 96


def record_sweep(directory, spec, pace, beside):
    """A sweep whose one trial took ``pace`` seconds a step and ``beside`` seconds in all besides."""
    directory.mkdir(parents=True)
    dumped = spec.model_dump(mode="json")
    (directory / "sweep.json").write_text(json.dumps({"spec": dumped, "manifest": manifest(spec)}))
    begin = time.time()
    events = [{"event": "sweep_started", "time": begin, "spec": dumped}]
    trial = spec.trial.model_dump(mode="json")
    about = {"id": "a", "model": "small", "kind": "trial", "label": "a", "params": {}, "trial": trial}
    events.append({"event": "trial_started", "time": begin, **about})
    for step in (4, 8, 12):
        seconds = 4 * pace + (50 if step == 4 else 0)  # the first report waited for the references
        events.append(
            {"event": "trial_reported", "id": "a", "step": step, "time": begin, "metrics": {"train/seconds": seconds}}
        )
    end = begin + 12 * pace + beside
    events.append({"event": "trial_ended", "time": end, "id": "a", "status": "FINISHED"})
    (directory / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return events


class TestFigures:
    def test_a_journal_tells_seconds_per_step_and_besides(self, tmp_path):
        events = record_sweep(tmp_path / "runs" / "small", loaded(tmp_path), pace=0.25, beside=7.0)
        found = measured_figures(SweepState.of(events), "small")
        assert found is not None
        assert found.seconds_per_step == pytest.approx(0.25)
        assert found.seconds_beside == pytest.approx(7.0)
        assert measured_figures(SweepState.of(events), "other") is None
        assert measured_figures(SweepState.of(events[:-1]), "small") is None

    def test_the_newest_sweep_of_the_same_kind_is_found(self, tmp_path, empty_cache):
        spec = loaded(tmp_path)
        runs = tmp_path / "runs"
        for name, pace, age in (("old", 9.0, 100), ("new", 0.25, 50)):
            record_sweep(runs / name, spec, pace, 7.0)
            os.utime(runs / name / "journal.jsonl", (time.time() - age, time.time() - age))
        (runs / "damaged").mkdir()
        (runs / "damaged" / "journal.jsonl").write_text("nonsense\n\n")
        found = stored_figures(spec, spec.models[0], runs)
        assert found is not None
        assert found.figures.seconds_per_step == pytest.approx(0.25)
        assert found.source == f"the sweep in {runs / 'new'}"

    @pytest.mark.parametrize(
        "override",
        [
            "trial.batch_size=8",
            "trial.max_length=64",
            "trial.tuning.type=full",
            "trial.constraint.type=kl_reference",
            "evaluation.harmful=3",
            "resources.workers=2",
            "models.0.path=organism",
        ],
    )
    def test_figures_of_other_work_are_not_taken(self, tmp_path, empty_cache, override):
        spec = loaded(tmp_path, search={})
        record_sweep(tmp_path / "runs" / "small", spec, 0.25, 7.0)
        store_figures(spec, spec.models[0], FIGURES)
        assert stored_figures(spec, spec.models[0], tmp_path / "runs") is not None
        changed = loaded(tmp_path, override, search={})
        assert stored_figures(changed, changed.models[0], tmp_path / "runs") is None

    def test_figures_of_other_hardware_are_not_taken(self, tmp_path, empty_cache, monkeypatch):
        spec = loaded(tmp_path)
        store_figures(spec, spec.models[0], FIGURES)
        other = {**hardware(), "processor": "another"}
        monkeypatch.setattr("orchestrator.record.timings.hardware", lambda: other)
        assert stored_figures(spec, spec.models[0], tmp_path / "runs") is None

    def test_stored_figures_are_replaced_and_survive_a_damaged_file(self, tmp_path, empty_cache):
        spec = loaded(tmp_path)
        for figures in (Figures(9.0, 9.0), FIGURES):
            store_figures(spec, spec.models[0], figures)
        found = stored_figures(spec, spec.models[0], tmp_path / "runs")
        assert found is not None
        assert found.figures == FIGURES
        file = tmp_path / "cache" / "figures.json"
        assert len(json.loads(file.read_text())["models"]) == 1
        file.write_text("nonsense")
        assert stored_figures(spec, spec.models[0], tmp_path / "runs") is None

    def test_a_sweep_is_found_from_any_folder_and_comes_before_a_profile(self, tmp_path, empty_cache, monkeypatch):
        spec = loaded(tmp_path)
        events = record_sweep(tmp_path / "far" / "small", spec, pace=0.25, beside=7.0)
        ended = [*events, {"event": "sweep_ended", "time": events[-1]["time"] + 1}]
        store_sweep(spec, tmp_path / "far" / "small", SweepState.of(ended), seconds_end=6.0)
        store_figures(spec, spec.models[0], FIGURES)
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        found = stored_figures(spec, spec.models[0])
        assert found is not None
        assert found.figures.seconds_per_step == pytest.approx(0.25)
        assert found.source == f"the sweep in {tmp_path / 'far' / 'small'}"
        assert stored_frame(2) == (Frame(0.0, 6.0), True)
        assert stored_frame(1) == (Frame(0.0, 6.0), True)


def trial_events(name, kind, start, seconds, steps=12, pace=0.5):
    """A trial of ``seconds``, whose reports are of ``pace``."""
    trial = None if name == "base" else {"steps": steps}
    yield {"event": "trial_started", "time": start, "id": name, "model": "small", "kind": kind, "trial": trial}
    for step in (4, 8, 12) if trial else ():
        metrics = {"train/seconds": 4 * pace}
        yield {"event": "trial_reported", "time": start, "id": name, "step": step, "metrics": metrics}
    yield {"event": "trial_ended", "time": start + seconds, "id": name, "status": "FINISHED"}


class TestJournal:
    """A sweep on one slot: 20 s to start, 15 s to prepare, 9 s of references, 10 s a trial and 1 s between two."""

    def events(self, searched=4):
        yield {"event": "sweep_started", "time": 0.0}
        yield {"event": "model_built", "time": 110.0, "model": "small", "seconds": 100.0}
        clock = 120.0
        jobs = [("base", "reference", 15 + 4), ("ift", "reference", 10), ("ift_safety", "reference", 10)]
        jobs += [(f"s{n}", "trial", 10 + (9 if n == 0 else 0)) for n in range(searched)]
        for name, kind, seconds in jobs:
            yield from trial_events(name, kind, clock, seconds)
            clock += seconds + 1
        yield {"event": "sweep_ended", "time": clock}
        yield {"event": "mlflow_run", "time": clock + 5, "key": "parent/small", "run_id": "1"}

    def test_every_part_is_measured(self):
        state = SweepState.of(self.events())
        figures = measured_figures(state, "small")
        assert figures is not None
        assert figures.seconds_per_step == pytest.approx(0.5)
        assert figures.seconds_beside == pytest.approx(10 - 6 + 1)
        assert figures.seconds_once == pytest.approx(15 + 9)
        assert measured_frame(state) == Frame(20.0, 5.0)

    def test_slots_that_prepared_another_model_are_not_counted(self):
        own = list(self.events())
        beside = [{**event, "model": "other", "id": f"other-{event['id']}"} for event in own if "id" in event]
        both = sorted([*own, *beside], key=lambda event: event["time"])
        alone, among = (measured_figures(SweepState.of(events), "small") for events in (own, both))
        assert alone is not None
        assert among is not None
        assert among.seconds_once == pytest.approx(alone.seconds_once)

    def test_the_plan_of_the_same_sweep_is_what_it_took(self):
        for searched in (2, 4, 16):
            events = sorted(self.events(searched), key=lambda event: event["time"])
            state = SweepState.of(self.events(4))
            figures, frame = measured_figures(state, "small"), measured_frame(state)
            work = Work(1, 2, searched, replicates=0, steps=12, batch_size=1, max_length=1)
            planned = sweep_seconds([work], [figures], 1, frame)
            took = events[-1]["time"] - 100  # the model is built by now
            assert 0.9 < planned / took < 1.1


def test_a_profile_is_measured_and_kept_for_the_next_plan(tmp_path):
    few = {"harmful": 4, "harmless": 4, "borderline": 4, "task": 4, "max_new_tokens": 4}
    loaded(tmp_path, evaluation=few, direction={"prompts": 8})
    measured = procon("plan", "spec.yaml", "--profile", "--json", folder=tmp_path)
    assert measured.returncode == 0, measured.stderr
    first = json.loads(measured.stdout)["models"]["small"]
    assert 0.001 < first["seconds_per_step"] < 10
    assert 0.01 < first["seconds_beside_steps"] < 60
    assert first["figures_from"] == "measured now"
    later = json.loads(procon("plan", "spec.yaml", "--json", folder=tmp_path).stdout)
    kept = later["models"]["small"]
    assert kept["seconds_per_step"] == first["seconds_per_step"]
    assert "--profile of" in kept["figures_from"]
    assert later["estimate"]["hours"] > 0
    assert not (tmp_path / "runs").exists()


def test_faults_reach_a_person_as_sentences(tmp_path):
    refused = procon("plan", "demo", "--set", "budget.hours=0", folder=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == (
        "procon: budget.hours (0) leaves nothing to spend: give a number above 0, or leave it out for no limit\n"
    )


def test_people_read_a_table(tmp_path):
    said = procon("plan", "demo", "--set", "trials=5", folder=tmp_path).stdout
    assert "8 = 3 references + 5 searched" in said
    assert "unknown: the spec has no resources.price_per_hour" in said
