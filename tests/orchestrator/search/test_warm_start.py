"""What a search learns from the journals of earlier sweeps."""

import json
from collections.abc import Callable
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from searches import CONDITIONAL, TRUE_DEPTHS, Play, searcher, sweep, told, trade_off
from small_sweeps import small_sweep

from orchestrator.errors import OutputError
from orchestrator.front.membership import front
from orchestrator.record.journal import Journal
from orchestrator.record.manifest import manifest
from orchestrator.record.score_fields import SELECT, score_fields
from orchestrator.record.spec_changes import flattened
from orchestrator.search.proposal import Proposal
from orchestrator.search.value_identity import WITHOUT_EFFECT, Measured, differences, settings_identity
from orchestrator.search.warm_start import spread
from orchestrator.slots.messages import Update
from sweeps.schema.spec import SweepSpec
from training.config import ModelConfig
from training.models.template_date import prints_date

FEWER = {"path": "organism/small/general", "limit": 9}
ENDPOINT = {"url": "http://localhost", "model": "m", "format": "harmbench", "api_key_env": "KEY"}
search_of = partial(searcher, depths=TRUE_DEPTHS)


def run(folder: Path, spec: SweepSpec, measure: Callable[[Proposal], Update] = trade_off) -> Play:
    """A whole sweep, and its journal in ``folder``."""
    play = Play(search_of(spec), measure).run()
    folder.mkdir()
    journal = Journal(folder / "journal.jsonl")
    journal.append("sweep_started", spec=spec.model_dump(mode="json"), manifest=manifest(spec))
    for record in play.records:
        shared: dict[str, Any] = {"id": record.id, "model": record.model, "kind": record.kind, "label": record.label}
        journal.append("trial_started", **shared, params=record.params, trial=record.trial)
        measured = {**score_fields(record.report), **score_fields(record.select, SELECT)}
        journal.append("trial_ended", id=record.id, status=record.status, error=None, **measured)
    journal.close()
    return play


def learning(folder: Path, **changes: Any) -> SweepSpec:
    """A sweep that starts from the one in ``folder``."""
    return sweep(searcher={"warm_start": [str(folder)], "startup_trials": 4}, **changes)


def searched(play: Play) -> list[dict[str, Any]]:
    return [dict(proposal.params) for proposal in play.proposals if proposal.kind == "trial"]


def test_values_of_the_same_search_are_learnt_from_and_its_trials_are_not_run_again(tmp_path: Path) -> None:
    before = run(tmp_path / "before", sweep(trials=6))
    said: list[str] = []
    search = search_of(learning(tmp_path / "before", trials=5), say=said.append)
    assert told(search) == told(before.search)
    assert said == [
        "warm start of small: 6 trials learnt from, the settings of 0 trials tried first, 0 trials left out "
        "(off the front of other settings or another model, or outside the ranges)"
    ]
    after = Play(search).run()
    assert [p.job.id for p in after.proposals if p.kind == "trial"] == [f"small-{number}" for number in range(5)]
    assert search.total == len(after.proposals) == 3 + 5


def test_values_outside_a_narrower_range_are_left_out(tmp_path: Path) -> None:
    before = run(tmp_path / "before", sweep(trials=8))
    ranges = CONDITIONAL["constraint"]
    narrower = {**CONDITIONAL, "constraint": {**ranges, "alpha": {"type": "loguniform", "low": 0.1, "high": 1.0}}}
    search = search_of(learning(tmp_path / "before", search=narrower))
    inside = [params for params in searched(before) if 0.1 <= params["constraint.alpha"] <= 1.0]
    assert 0 < len(inside) < 8
    assert len(told(search)) == len(inside)


def test_values_under_other_settings_do_not_hold_but_front_settings_are_tried(tmp_path: Path) -> None:
    before = run(tmp_path / "before", sweep(trials=6))
    spec = learning(tmp_path / "before", trials=8)
    longer = spec.model_copy(update={"trial": spec.trial.model_copy(update={"steps": 24})})
    search = search_of(longer)
    assert told(search) == []
    members = [dict(record.params) for record in front(spec.objectives, spec.feasible, before.records)]
    tried = spread(members, 4)
    assert 2 <= len(tried) < 8
    assert searched(Play(search).run())[: len(tried)] == tried


def test_what_does_not_change_values_does_not_stand_in_the_way(tmp_path: Path) -> None:
    run(tmp_path / "before", sweep(trials=3))
    spec = learning(tmp_path / "before")
    other = spec.model_copy(update={"trial": spec.trial.model_copy(update={"seed": 7, "log_every": 1})})
    assert len(told(search_of(other))) == 3


def evaluated(**changes: Any) -> dict[str, Any]:
    return {"evaluation": {**small_sweep()["evaluation"], **changes}}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        (evaluated(max_new_tokens=4), "evaluation.max_new_tokens"),
        (evaluated(seed=1), "evaluation.seed"),
        (evaluated(report_share=0.2), "evaluation.report_share"),
        (evaluated(task=39), "evaluation.task"),
        (evaluated(judges=[{"type": "phrases", "extra": ["no way"]}]), "evaluation.judges"),
        ({"direction": {"filter": False}}, "direction.filter"),
        ({"direction": {"seed": 3}}, "direction.seed"),
        (
            {"data": {**small_sweep()["data"], "task": {"path": "organism/small/general", "limit": 9}}},
            "data.task.limit",
        ),
    ],
)
def test_values_measured_in_another_way_lend_settings_alone(
    tmp_path: Path, changes: dict[str, Any], field: str
) -> None:
    run(tmp_path / "before", sweep(trials=4))
    said: list[str] = []
    search = search_of(learning(tmp_path / "before", **changes), say=said.append)
    assert told(search) == []
    assert "0 trials learnt from" in said[0]
    assert f"values of {tmp_path / 'before'} do not hold where these differ: {field}" in said[0]
    assert not said[0].startswith("warm start of small: 0 trials learnt from, the settings of 0 trials")


def test_how_answers_are_got_does_not_count(tmp_path: Path) -> None:
    run(tmp_path / "before", sweep(trials=3))
    spec = learning(tmp_path / "before", **evaluated(batch_size=3, keep_answers=False, strict=False))
    assert len(told(search_of(spec))) == 3


def test_a_sweep_that_went_on_in_another_way_lends_no_values(tmp_path: Path) -> None:
    """Which of its trials were measured in which way its journal could tell, but its front mixes them."""
    run(tmp_path / "before", sweep(trials=3))
    journal = Journal(tmp_path / "before" / "journal.jsonl")
    changed = sweep(trials=3, **evaluated(max_new_tokens=4))
    journal.append("sweep_resumed", manifest=manifest(changed))
    journal.append("spec_changed", spec=changed.model_dump(mode="json"), changes=[])
    shared: dict[str, Any] = {"id": "small-9", "model": "small", "kind": "trial", "label": "small-9"}
    journal.append("trial_started", **shared, params={}, trial=None)
    journal.close()
    for evaluation in (evaluated(), evaluated(max_new_tokens=4)):
        assert told(search_of(learning(tmp_path / "before", **evaluation))) == []


@pytest.mark.parametrize("prints", [True, False])
def test_the_day_counts_where_the_template_prints_it(prints: bool) -> None:
    days = [Measured({}, {}, {}, {}, {"date": day}, dated=prints).identity for day in ("2026-11-27", "2026-11-28")]
    assert differences(*days) == (["date"] if prints else [])


def test_whether_a_template_prints_the_day_is_read_off_its_tokenizer(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from training.organism.cache import organism_directory

    tokenizer = AutoTokenizer.from_pretrained(organism_directory(ModelConfig(name="m", path="organism/small")))
    for name, line in (("plain", ""), ("dated", "{{ strftime_now('%d %b %Y') }}")):
        tokenizer.chat_template = line + tokenizer.chat_template
        tokenizer.save_pretrained(tmp_path / name)
    assert not prints_date(ModelConfig(name="m", path=str(tmp_path / "plain")))
    assert prints_date(ModelConfig(name="m", path=str(tmp_path / "dated")))
    assert not prints_date(ModelConfig(name="m", path="organism/small"))
    assert not prints_date(ModelConfig(name="m", path="nobody/has-this"))


def test_a_journal_without_a_manifest_lends_settings_alone(tmp_path: Path) -> None:
    run(tmp_path / "before", sweep(trials=3))
    path = tmp_path / "before" / "journal.jsonl"
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps({**json.loads(first), "manifest": {}}), *rest]) + "\n")
    assert told(search_of(learning(tmp_path / "before"))) == []


def test_answers_of_a_server_are_no_values_of_the_models_own_but_it_may_move() -> None:
    def identity(**generator: Any) -> dict[str, Any]:
        spec = sweep().model_dump(mode="json")
        spec["evaluation"] |= {"generator": generator} if generator else {}
        return Measured.of(
            SweepSpec.model_validate(spec).model_dump(mode="json"), spec["models"][0]["name"], {}
        ).identity

    moved = identity(type="vllm", endpoint="http://other/v1", adapter_dir="/shared", timeout=5)
    assert differences(identity(), moved) == ["evaluation.generator.type"]
    assert differences(identity(type="vllm", endpoint="http://localhost/v1"), moved) == []
    before = sweep().model_dump(mode="json")
    del before["evaluation"]["generator"]  # a journal of an earlier version
    assert differences(identity(), Measured.of(before, before["models"][0]["name"], {}).identity) == []


def test_what_counts_is_everything_but_what_is_listed() -> None:
    """A field that somebody adds counts until it is listed, and what is listed is there."""
    served = {"type": "vllm", "endpoint": "http://localhost"}
    judges = [{"type": "endpoint", **ENDPOINT}]
    spec = sweep(evaluation={"lm_eval": {"tasks": ["x"]}, "judges": judges, "generator": served})
    names = {
        f"{block}.{name}"
        for block, dumped in (
            ("model", spec.models[0]),
            ("direction", spec.direction),
            ("evaluation", spec.evaluation),
            ("trial", spec.trial),
        )
        for name in flattened(dumped.model_dump(mode="json"))
    }
    classifier = {"evaluation.judges.0.device", "evaluation.judges.0.batch_size"}
    for pattern in WITHOUT_EFFECT:
        assert any(fnmatch(name, pattern) for name in names | classifier), pattern
    counting = settings_identity(spec.trial)
    assert {"trial.steps", "trial.learning_rate", "trial.precision", "trial.constraint.alpha"} <= set(counting)
    assert differences(counting, {**counting, "trial.something_new": 1}) == ["trial.something_new"]


def test_another_models_front_is_tried_at_the_same_fraction_of_depth(tmp_path: Path) -> None:
    before = run(tmp_path / "before", sweep(trials=6, models=[{"name": "deep", "path": "organism"}]))
    spec = learning(tmp_path / "before", trials=6)
    search = search_of(spec)
    assert told(search) == []
    members = front(spec.objectives, spec.feasible, before.records)
    nearest = {0: 0, 1: 1, 2: 1, 3: 2}  # of 4 layers and of 3
    expected = [
        {**record.params, "constraint.layers": nearest[record.params["constraint.layers"]]} for record in members
    ]
    assert searched(Play(search).run())[: min(4, len(expected))] == spread(expected, 4)


def test_a_resumed_search_does_not_try_the_settings_again(tmp_path: Path) -> None:
    run(tmp_path / "before", sweep(trials=6, models=[{"name": "deep", "path": "organism"}]))
    spec = learning(tmp_path / "before", trials=6)
    part = Play(search_of(spec)).run(3 + 5)
    rest = Play(search_of(spec, part.records)).run()
    assert len(searched(rest)) == 1
    assert searched(rest)[0] not in searched(part)


def test_data_are_known_again_by_what_is_in_them_not_by_where_they_are(tmp_path: Path) -> None:
    def over(path: Path, **changes: Any) -> SweepSpec:
        data = small_sweep()["data"] | {"task": {"path": str(path)}}
        return sweep(trials=3, data=data, **changes)

    original, moved = tmp_path / "task.jsonl", tmp_path / "elsewhere" / "same.jsonl"
    original.write_text('{"prompt": "one", "response": "two"}\n')
    run(tmp_path / "before", over(original))
    moved.parent.mkdir()
    original.rename(moved)
    later = {"searcher": {"warm_start": [str(tmp_path / "before")], "startup_trials": 4}}
    assert len(told(search_of(over(moved, **later)))) == 3
    original.write_text('{"prompt": "one", "response": "three"}\n')
    assert told(search_of(over(original, **later))) == []


def test_a_model_rebuilt_under_the_same_path_is_another_model(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"num_hidden_layers": 3}')
    (model / "model.safetensors").write_bytes(b"first weights")
    models = [{"name": "small", "path": str(model)}]
    run(tmp_path / "before", sweep(trials=3, models=models))
    spec = learning(tmp_path / "before", models=models)
    assert len(told(search_of(spec))) == 3
    (model / "model.safetensors").write_bytes(b"other weights")
    assert told(search_of(spec)) == []


def test_a_folder_without_a_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"holds no sweep"):
        search_of(learning(tmp_path))


def test_a_relative_folder_is_that_of_where_the_sweep_was_first_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = sweep(searcher={"warm_start": ["runs/one"]})
    assert spec.searcher.warm_start == [str(tmp_path / "runs/one")]
