"""References that an earlier sweep measured: what they are known by, how they are kept, and who reuses them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_sweeps import Cluster, Run, small_sweep

from orchestrator.driver import baselines
from orchestrator.driver.baselines import BaselineStore, baseline_key, baselines_in_words, find_baselines
from orchestrator.record.answers import AnswerFolder, write_answers
from orchestrator.record.events import Event
from orchestrator.record.journal import read_journal, records
from orchestrator.record.measured import measured_figures
from orchestrator.record.sweep_state import SweepState
from orchestrator.record.trials import TrialRecord
from sweeps.schema.spec import SweepSpec

MANIFEST: dict[str, Any] = {
    "date": "2026-01-02",
    "models": {"small": "weights"},
    "data": {},
    "judges": {},
    "versions": {"procon-sweeps": "1", "torch": "2"},
    "plugins": {},
    "hardware": {"cpus": 2},
}
SPEC = SweepSpec.model_validate(small_sweep())


def spec(**changes: Any) -> SweepSpec:
    return SweepSpec.model_validate(small_sweep(**changes))


def key(chosen: SweepSpec = SPEC, label: str = "ift", **changed: Any) -> str | None:
    return baseline_key(chosen, chosen.models[0], label, {**MANIFEST, **changed})


class TestKey:
    def test_it_is_the_same_for_another_name_and_another_search(self) -> None:
        other = spec(name="other", trials=9, search={"safety_share": {"type": "choice", "values": [0.0, 0.1]}})
        assert key() == key(other)
        assert key(label="base") == key(other, label="base")
        assert key() == key(date="2027-03-04"), "this template prints no date"

    @pytest.mark.parametrize(
        "changes",
        [
            {"trial": {**small_sweep()["trial"], "steps": 13}},
            {"trial": {**small_sweep()["trial"], "seed": 1}},
            {"evaluation": {**small_sweep()["evaluation"], "task": 41}},
            {"evaluation": {**small_sweep()["evaluation"], "scales": [0.5]}},
            {"evaluation": {**small_sweep()["evaluation"], "keep_answers": False}},
            {"direction": {"prompts": 9}},
            {"resources": {"workers": 2}},
            {"resources": {"gpus_per_worker": 1}},
        ],
        ids=["steps", "seed", "prompts", "scales", "texts", "direction", "workers", "gpus"],
    )
    def test_whatever_changes_a_value_changes_it(self, changes: dict[str, Any]) -> None:
        assert key(spec(**changes)) != key()

    def test_so_do_weights_versions_and_hardware(self) -> None:
        found = {
            key(),
            key(models={"small": "others"}),
            key(versions={"procon-sweeps": "1", "torch": "3"}),
            key(hardware={"cpus": 4}),
            key(label="ift_safety"),
            key(label="base"),
        }
        assert len(found) == 6

    def test_the_untouched_model_does_not_depend_on_the_training(self) -> None:
        longer = spec(trial={**small_sweep()["trial"], "steps": 13})
        assert key(longer, "base") == key(label="base")

    def test_what_may_change_unseen_has_none(self, tmp_path: Path) -> None:
        hub = {**small_sweep()["data"], "task": {"path": "someone/dataset"}}
        assert key(spec(data=hub)) is None
        assert key(spec(data=hub), data={"someone/dataset": "hash"}) is not None
        assert key(models={"small": None}) is None
        judge = {"type": "endpoint", "name": "far", "url": "http://localhost:1/v1", "model": "m", "format": "wildguard"}
        asked = {**small_sweep()["evaluation"], "judges": [{"type": "phrases"}, judge]}
        assert key(spec(evaluation=asked)) is None
        for changed in (
            {"lm_eval": {"tasks": ["arc_easy"]}},
            {"generator": {"type": "vllm", "endpoint": "http://x:1"}},
        ):
            chosen = SPEC.evaluation.model_validate({**SPEC.evaluation.model_dump(), **changed})
            assert key(SPEC.model_copy(update={"evaluation": chosen})) is None


def told(name: str = "small-ift") -> list[Event]:
    """A reference from start to end, with one scaled model."""
    scores = {"metrics": {"utility/accuracy": 0.5}, "counts": {"utility/accuracy": [1, 2]}, "errors": {}}
    halves = {f"{half}_{part}": value for half in ("report", "select") for part, value in scores.items()}
    about = {"model": "small", "kind": "reference", "label": "ift", "params": {}}
    trial = SPEC.trial.model_dump(mode="json")
    return [
        {"event": "trial_started", "time": 1.0, "id": name, **about, "trial": trial},
        {"event": "trial_reported", "time": 2.0, "id": name, "step": 4, "metrics": {"train/seconds": 3.0}},
        {"event": "trial_reported", "time": 3.0, "id": name, "step": 8, "metrics": {"train/seconds": 3.0}},
        {"event": "trial_rung", "time": 3.0, "id": name, "step": 8, **scores},
        {"event": "trial_scaled", "time": 9.0, "id": name, "step": 8, "scale": 0.5, **scores, **halves},
        {"event": "trial_ended", "time": 9.0, "id": name, "status": "FINISHED", **scores},
    ]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROCON_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PROCON_FRESH", raising=False)
    return tmp_path / "cache"


def keep(tmp_path: Path, events: list[Event]) -> SweepState:
    state = SweepState()
    row = {"set": "task", "prompt_id": "p", "family": None, "refused": None, "complied": None, "correct": True}
    for name in ("small-ift", "small-ift@0.5"):
        write_answers(tmp_path, name, [row])
    store = BaselineStore(SPEC, MANIFEST, state, tmp_path / "run", tmp_path)
    for event in events:
        state.take(event)
        store.on_event(event)
    return state


@pytest.mark.usefixtures("cache")
class TestStore:
    def test_what_is_kept_is_found_as_it_was(self, tmp_path: Path) -> None:
        state = keep(tmp_path, told())
        (found,) = find_baselines(SPEC, MANIFEST)
        assert (found.model, found.label, found.directory) == ("small", "ift", str(tmp_path / "run"))
        assert SweepState.of(found.events).records() == state.records()
        assert set(found.answers) == {"small-ift", "small-ift@0.5"}
        (sentence,) = baselines_in_words([found])
        assert sentence.startswith("ift of small: measured before with the same model, data, settings, versions")

    def test_a_model_of_another_name_gets_its_own_ids(self, tmp_path: Path) -> None:
        keep(tmp_path, told())
        other = spec(models=[{"name": "renamed", "path": "organism/small"}])
        (found,) = find_baselines(other, {**MANIFEST, "models": {"renamed": "weights"}})
        assert [one.id for one in SweepState.of(found.events).records()] == ["renamed-ift", "renamed-ift@0.5"]
        assert {one.model for one in SweepState.of(found.events).records()} == {"renamed"}
        assert set(found.answers) == {"renamed-ift", "renamed-ift@0.5"}

    def test_only_what_finished_here_is_kept(self, tmp_path: Path) -> None:
        keep(tmp_path, [*told()[:-1], {**told()[-1], "status": "FAILED"}])
        keep(tmp_path, [{**told()[0], "kind": "replicate", "replicate_of": "small-ift"}, *told()[1:]])
        keep(tmp_path, [{**told()[0], "reused": "elsewhere"}, *told()[1:]])
        assert find_baselines(SPEC, MANIFEST) == []

    def test_a_damaged_one_is_passed_over(self, tmp_path: Path, cache: Path) -> None:
        keep(tmp_path, told())
        (file,) = cache.rglob("events.jsonl")
        for text in ("", "{}\n", file.read_text()[:-20], file.read_text().replace('"FINISHED"', '"NEVER"')):
            file.write_text(text)
            assert find_baselines(SPEC, MANIFEST) == []

    def test_the_latest_stay(self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(baselines, "KEPT", 1)
        (cache / "baselines" / "old").mkdir(parents=True)
        keep(tmp_path, told())
        assert [path.name for path in (cache / "baselines").iterdir()] == [key()]

    def test_the_environment_may_ask_for_fresh_ones(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        keep(tmp_path, told())
        for value, found in (("1", 0), ("0", 1), ("", 1)):
            monkeypatch.setenv("PROCON_FRESH", value)
            assert len(find_baselines(SPEC, MANIFEST)) == found

    def test_a_cache_that_cannot_be_written_costs_nothing(self, tmp_path: Path, cache: Path) -> None:
        cache.write_text("no folder")
        assert keep(tmp_path, told()).trials["small-ift"].kept

    def test_reused_references_are_no_measure_of_time(self, tmp_path: Path) -> None:
        state = keep(tmp_path, told())
        assert measured_figures(state, "small") is not None
        reused = [{**told()[0], "reused": "elsewhere"}, *told()[1:]]
        again = SweepState.of(reused)
        assert measured_figures(again, "small") is None
        assert (again.first_trial, again.pauses) == (None, [])


def measured(record: TrialRecord) -> tuple[Any, ...]:
    """All that does not depend on the clock."""
    report = {name: value for name, value in record.report.metrics.items() if name != "evaluation/seconds"}
    return record.params, record.trial, report, record.report.counts, record.select, record.rungs


@pytest.mark.slow
@pytest.mark.xdist_group("sweeps")
def test_a_second_sweep_trains_no_reference_again(
    start_sweep: Callable[..., Run], cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"harmful": 12, "harmless": 6, "borderline": 6, "task": 12, "max_new_tokens": 6, "scales": [0.5]}
    trial = {**small_sweep()["trial"], "steps": 6, "log_every": 2, "deepspeed": {"zero_stage": 0}}
    search = {"constraint": {"alpha": {"type": "loguniform", "low": 0.01, "high": 1.0}}}
    monkeypatch.setenv("PROCON_FRESH", "0")
    found = []
    for number, seed in enumerate((5, 5)):
        chosen = small_sweep(
            evaluation={**few, "seed": 11}, trial=trial, search=search, trials=1, searcher={"seed": seed}
        )
        run = start_sweep(tmp_path / str(number), chosen, *cluster.join, new_store=True)
        code, output = run.finish()
        assert code == 0, output
        found.append((run.directory, output, read_journal(run.directory / "journal.jsonl")))
    (first, _, before), (second, output, after) = found
    assert "base, ift, ift_safety of small: measured before" in " ".join(output.split())
    assert "[4/4] small-0 FINISHED" in output, "what was taken over is done"
    assert not [event for event in before if "reused" in event]
    started = [event for event in after if event["event"] == "trial_started"]
    assert {event["id"]: event.get("reused") for event in started} == {
        **{f"small-{label}": str(first) for label in ("base", "ift", "ift_safety")},
        "small-0": None,
    }
    # Which scaled models of a searched trial answer depends on what was known when it was handed out.
    one, other = (
        {record.id: measured(record) for record in records(events) if record.kind != "scaled"}
        for events in (before, after)
    )
    assert one == other, "the searched trial too: its settings are drawn as if the references had been measured here"
    fronts = [json.loads((folder / "front.json").read_text())["models"]["small"] for folder in (first, second)]
    assert fronts[0]["reference"] == fronts[1]["reference"]
    answers = [AnswerFolder(folder / "answers") for folder in (first, second)]
    assert set(one) <= set(answers[1])
    assert all(answers[0][name] == answers[1][name] for name in one)
