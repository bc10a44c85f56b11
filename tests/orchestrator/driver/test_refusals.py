"""What is wrong with models, data, batches and machine is refused by every verb alike, before anything is made."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import procon
from model_folders import write_model
from small_sweeps import small_sweep

from orchestrator.record.manifest import manifest
from sweeps.schema.load import load_spec

VERBS = ("plan", "run", "train", "inspect", "direction", "resume", "extend")
HERE = ("plan", "run", "resume", "extend")
"""Verbs that need what ``resources`` asks for."""


@pytest.fixture(scope="session")
def sound_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and data that every verb takes."""
    folder = tmp_path_factory.mktemp("sound")
    write_model(folder / "model")
    for name in ("task", "safety", "harmful", "harmless", "borderline"):
        rows = [
            {"prompt": f"please {name} {split} {n}", "response": "well then", "split": split}
            for split in ("train", "test")
            for n in range(40)
        ]
        write_rows(folder / f"{name}.jsonl", rows)
    return folder


@pytest.fixture
def folder(sound_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to spoil, which is where the command is typed."""
    shutil.copytree(sound_folder, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def write_rows(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def spec_of(folder: Path) -> dict[str, Any]:
    spec = small_sweep(
        models=[{"name": "own", "path": "./model"}],
        data={n: {"path": f"{n}.jsonl"} for n in ("task", "safety", "harmful", "harmless", "borderline")},
    )
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    return spec


def recorded(folder: Path) -> Path:
    """What a killed driver left of the sweep."""
    spec = load_spec(folder / "spec.yaml")
    dumped = spec.model_dump(mode="json")
    left = folder / "left"
    left.mkdir()
    started = {"event": "sweep_started", "time": 1.0, "spec": dumped, "manifest": manifest(spec)}
    (left / "journal.jsonl").write_text(json.dumps(started) + "\n")
    (left / "sweep.json").write_text(json.dumps({"spec": dumped, "manifest": manifest(spec)}))
    return left


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def arguments_of(verb: str, folder: Path, overrides: list[str]) -> list[str]:
    sets = [word for override in overrides for word in ("--set", override)]
    if verb in ("resume", "extend"):
        more = ["--trials", "1"] if verb == "extend" else []
        return [verb, str(folder / "left"), *more, *sets, "--accept"]
    return [verb, str(folder / "spec.yaml"), *sets]


def without(*names: str) -> Callable[[Path], list[str]]:
    def spoil(folder: Path) -> list[str]:
        for name in names:
            (folder / "model" / name).unlink()
        return []

    return spoil


def truncated(folder: Path) -> list[str]:
    file = folder / "model" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    return []


def lacking_shard(folder: Path) -> list[str]:
    file = folder / "model" / "model.safetensors"
    file.rename(folder / "model" / "model-00001-of-00002.safetensors")
    placed = {"model.norm.weight": "model-00001-of-00002.safetensors", "lm_head": "model-00002-of-00002.safetensors"}
    (folder / "model" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    return []


def pointer(folder: Path) -> list[str]:
    (folder / "model" / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    return []


def no_template(folder: Path) -> list[str]:
    (folder / "model" / "chat_template.jinja").unlink()
    file = folder / "model" / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    settings.pop("chat_template", None)
    file.write_text(json.dumps(settings))
    return []


def odd_template(folder: Path) -> list[str]:
    (folder / "model" / "chat_template.jinja").write_text("{{ raise_exception('only tools') }}")
    return []


def config(**changes: Any) -> Callable[[Path], list[str]]:
    def spoil(folder: Path) -> list[str]:
        file = folder / "model" / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
        return []

    return spoil


def broken_config(folder: Path) -> list[str]:
    (folder / "model" / "config.json").write_text('{"model_type": ')
    return []


def broken_tokenizer(folder: Path) -> list[str]:
    (folder / "model" / "tokenizer.json").write_text('{"version": "1.0"}')
    return []


def sentencepiece_only(folder: Path) -> list[str]:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / "model" / name).unlink()
    return []


def blank(name: str, column: str, value: Any, row: int = 7) -> Callable[[Path], list[str]]:
    def spoil(folder: Path) -> list[str]:
        rows = rows_of(folder / f"{name}.jsonl")
        rows[row][column] = value
        write_rows(folder / f"{name}.jsonl", rows)
        return []

    return spoil


def few(name: str, count: int) -> Callable[[Path], list[str]]:
    def spoil(folder: Path) -> list[str]:
        rows = rows_of(folder / f"{name}.jsonl")[:count]
        write_rows(folder / f"{name}.jsonl", [{key: row[key] for key in ("prompt", "response")} for row in rows])
        return []

    return spoil


def same_sides(folder: Path) -> list[str]:
    side = {"path": str(folder / "harmful.jsonl")}
    return [f"data.harmful={json.dumps({'train': side, 'test': side})}"]


def set_to(*overrides: str) -> Callable[[Path], list[str]]:
    return lambda _folder: list(overrides)


def missing_beside_others(folder: Path) -> list[str]:
    (folder / "models").mkdir()
    return ["models.0.path=models/nothere"]


def a_text_file(folder: Path) -> list[str]:
    (folder / "task.txt").write_text("hello\n")
    return [f"data.task.path={folder / 'task.txt'}"]


def bad_csv(folder: Path) -> list[str]:
    (folder / "task.csv").write_text("prompt,response\na,b\nc,d,e\n")
    return [f"data.task.path={folder / 'task.csv'}"]


FAULTS: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "no tokenizer files": (sentencepiece_only, r"models\.0\.path \(.*model\) has no tokenizer files \(tokenizer\.json"),
    "tokenizer broken": (broken_tokenizer, r"models\.0\.path \(.*\): no tokenizer could be loaded from"),
    "no chat template": (no_template, r"models\.0\.path \(.*\) has no chat template .*: use a chat \(instruct\) model"),
    "odd chat template": (odd_template, r"refuses a conversation of user.*only tools"),
    "no weights": (without("model.safetensors"), r"models\.0\.path \(.*\) has no weights \(model\.safetensors"),
    "truncated weights": (
        truncated,
        r"model\.safetensors \([\d,]+ bytes\) is cut off or damaged .*: download it again",
    ),
    "lacking shard": (lacking_shard, r"lacks 1 of the 2 files of weights .* model-00002-of-00002\.safetensors"),
    "lfs pointer": (pointer, r"model\.safetensors is a git-lfs pointer and no weights: run git lfs pull"),
    "no config": (without("config.json"), r"models\.0\.path \(.*\) has no config\.json"),
    "broken config": (broken_config, r"config\.json is no valid JSON"),
    "unknown architecture": (config(model_type="llamb"), r"transformers cannot use its config\.json"),
    "no causal model": (
        config(model_type="t5"),
        r"is of type t5, which transformers makes no causal",
    ),
    "no such folder": (set_to("models.0.path=./nothere"), r"models\.0\.path \(.*nothere\): there is no such folder"),
    "folder of a folder": (missing_beside_others, r"models\.0\.path \(.*models/nothere\): there is no such folder"),
    "neither folder nor id": (set_to("models.0.path=some/thing"), r"\(some/thing\) is no folder here, and the cache"),
    "deep path": (set_to("models.0.path=some/other/thing"), r"some/other/thing\): there is no such folder"),
    "null prompt": (blank("task", "prompt", None), r"data\.task \(train\): 1 of 40 rows have an empty prompt"),
    "empty response": (
        blank("safety", "response", " "),
        r"data\.safety \(train\): 1 of 40 rows have an empty",
    ),
    "empty prompt measured": (
        blank("borderline", "prompt", "", 47),
        r"data\.borderline \(test\): 1 of 40 rows have an empty",
    ),
    "no text": (blank("harmful", "prompt", ["a", "b"]), r"data\.harmful"),
    "few task rows": (few("task", 3), r"data\.task has 2 rows to train on, and trial\.batch_size \(16\) is more"),
    "few prompts measured": (few("borderline", 1), r"data\.borderline: its test split is empty"),
    "few prompts of the direction": (few("harmful", 3), r"data\.harmful"),
    "train is test": (same_sides, r"data\.harmful: all \d+ prompts of its train split are in its test split too"),
    "short samples": (
        set_to("trial.max_length=4"),
        r"trial\.max_length \(4\) leaves nothing of any sample",
    ),
    "short measured samples": (set_to("evaluation.max_length=4"), r"evaluation\.max_length \(4\) leaves nothing"),
    "workers and batch": (set_to("resources.workers=3"), r"trial\.batch_size \(16\) cannot be shared among 3 workers"),
    "workers and groups": (
        set_to(
            "resources.workers=2",
            "trial.deepspeed={zero_stage: 3, overrides: {zero_optimization: {zero_hpz_partition_size: 3}}}",
        ),
        r"zero_hpz_partition_size \(3\) does not divide the 2 workers",
    ),
    "searched batch": (
        set_to("resources.workers=2", "search.batch_size={type: choice, values: [8, 9]}"),
        r"trial\.batch_size \(9\) cannot be shared among 2 workers",
    ),
    "searched safety count": (
        set_to("search={safety_count: {type: choice, values: [1, 500]}}"),
        r"trial\.safety_count \(500\) asks for more",
    ),
    "safety count": (
        set_to("trial.safety_count=500", "search={}"),
        r"trial\.safety_count \(500\) asks for more safety samples",
    ),
    "no such file": (set_to("data.task.path=./gone.jsonl"), r"data\.task: .*gone\.jsonl does not exist"),
    "unread kind": (a_text_file, r"data\.task: .*task\.txt is a file of a kind that is not read: save its rows as"),
    "bad csv": (bad_csv, r"data\.task: .*task\.csv cannot be read as csv .*: save it as UTF-8"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_verb_refuses_with_a_sentence_and_makes_nothing(folder: Path, fault: str) -> None:
    spec_of(folder)
    recorded(folder)
    spoil, words = FAULTS[fault]
    overrides = spoil(folder)
    before = tree(folder)
    for verb in VERBS:
        begin = time.monotonic()
        ended = procon(*arguments_of(verb, folder, overrides))
        said = ended.stderr
        faults = [line for line in said.splitlines() if line.startswith("procon: ")]
        assert ended.returncode == 2, (verb, said)
        assert len(faults) == 1, (verb, said)
        assert "sentencepiece" not in said
        assert re.search(words, faults[0]), (verb, faults[0])
        assert time.monotonic() - begin < 20, "no waiting for anybody"
        assert tree(folder) == before, f"{verb} left something"
        assert not (folder / "runs").exists()


@pytest.mark.parametrize("verb", HERE)
def test_gpus_are_not_asked_of_a_machine_without(folder: Path, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.record.machine.find_gpus", tuple)
    spec_of(folder)
    recorded(folder)
    before = tree(folder)
    refused = procon(*arguments_of(verb, folder, ["resources.gpus_per_worker=1"]))
    assert refused.returncode == 2
    assert "procon: resources (workers 1 x 1 CPU, 1 GPU) do not fit this machine" in refused.stderr
    assert tree(folder) == before


def test_what_is_sound_is_taken(folder: Path) -> None:
    spec_of(folder)
    assert procon("plan", "spec.yaml").returncode == 0
    inspected = procon("inspect", "spec.yaml")
    assert inspected.returncode == 0
    assert "reading the tokenizer of own and first samples with it" in inspected.stderr
    assert not (folder / "runs").exists()


@pytest.fixture
def cached_on_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model as the Hub's cache holds a snapshot."""
    cache = folder.parent / "hub"
    snapshot = cache / "models--some--thing" / "snapshots" / "0123abc"
    shutil.copytree(folder / "model", snapshot)
    (cache / "models--some--thing" / "refs").mkdir()
    (cache / "models--some--thing" / "refs" / "main").write_text("0123abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return snapshot


def test_a_cached_snapshot_needs_no_hub_and_is_checked_alike(cached_on_hub: Path) -> None:
    from training.config import ModelConfig
    from training.errors import ModelError
    from training.preflight.models import check_model

    model = ModelConfig(name="own", path="some/thing")
    assert os.path.samefile(check_model(model, "models.0.path", print), cached_on_hub)
    (cached_on_hub / "model.safetensors").write_bytes(b"short")
    with pytest.raises(ModelError, match="is cut off or damaged"):
        check_model(model, "models.0.path", print)


def test_csv_is_read_as_the_text_that_it_is(tmp_path: Path) -> None:
    from training.config import Source
    from training.data import load_split

    file = tmp_path / "rows.csv"
    file.write_text('prompt,response,answer\n"What is 3, and\nwhat 4?",007,1e3\nWho?,NA,2\n')
    source = Source.model_validate({"train": {"path": str(file)}, "test": {"path": str(file)}})
    assert list(load_split(source, "test")) == [
        {"prompt": "What is 3, and\nwhat 4?", "response": "007", "answer": "1e3"},
        {"prompt": "Who?", "response": "NA", "answer": "2"},
    ]


def test_an_embedded_models_plan_needs_no_torch() -> None:
    code = (
        "import sys; from sweeps.schema.load import load_spec; "
        "from orchestrator.commands.plan.estimate import make_plan; "
        "make_plan(load_spec('demo'), None); print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]", run.stdout
