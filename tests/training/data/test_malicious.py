"""Malicious samples in the fine-tuning data."""

import json
from pathlib import Path
from typing import Any

import pytest
from benches import bench, write_files

from training.config import DataConfig, Source, TrialConfig
from training.data.malicious import check_malicious, chosen_rows
from training.errors import DataError
from training.evaluation.drawing import plain


@pytest.fixture
def directory(tmp_path: Path, chat_tokenizer: Any) -> Path:
    write_files(tmp_path, chat_tokenizer)
    return tmp_path


def _write(path: Path, prompts: list[str], **more: str) -> Source:
    rows = [{"prompt": prompt, "response": "sure bake", **more} for prompt in prompts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source(path=str(path))


def _data(directory: Path, malicious: Source, **sets: dict[str, Source]) -> DataConfig:
    names = ("task", "safety", "harmful", "harmless", "borderline")
    return DataConfig(
        **{name: Source(path=str(directory / f"{name}.jsonl")) for name in names}, malicious=malicious, **sets
    )


def _trial(count: int) -> TrialConfig:
    return TrialConfig(steps=2, batch_size=4, malicious_count=count, tuning={"type": "lora", "rank": 2})


def test_more_malicious_samples_add_some_and_change_none() -> None:
    assert chosen_rows(50, 30, seed=1)[:10] == chosen_rows(50, 10, seed=1)
    assert len(set(chosen_rows(50, 50, seed=1))) == 50


@pytest.mark.usefixtures("process")
def test_malicious_samples_are_trained_on_as_task_samples(directory: Path) -> None:
    made = bench(directory)
    made.data = _data(directory, _write(directory / "malicious.jsonl", [f"please sing {n}" for n in range(9)]))
    made.prepare()
    clean, tasks = made._data.of(_trial(0))
    poisoned, more = made._data.of(_trial(5))
    assert (more - tasks, len(poisoned) - len(clean)) == (5, 5)
    added = poisoned.only(range(tasks, more))
    decoded = [made.tokenizer.decode(added.tokens[added.offsets[i] : added.offsets[i + 1]]) for i in range(5)]
    assert all("please sing" in text and "sure bake" in text for text in decoded)
    with pytest.raises(DataError, match=r"malicious_count \(10\).*data\.malicious has to train on \(9\)"):
        made._data.of(_trial(10))
    assert "utility/loss" in made.run(_trial(5), lambda _report: False).report.metrics


def test_prompts_that_attack_success_is_measured_on_are_refused(directory: Path) -> None:
    asked = json.loads((directory / "harmful.jsonl").read_text().splitlines()[0])["prompt"]
    every = [json.loads(line)["prompt"] for line in (directory / "harmful.jsonl").read_text().splitlines()]
    data = _data(directory, _write(directory / "malicious.jsonl", every))
    with pytest.raises(DataError, match=r"data\.malicious: \d+ of the prompts.*test prompts of data\.harmful,"):
        check_malicious(data, same=plain)
    # Of a further set every row is asked, and what differs only in case and spacing is the same.
    more = {"other": _write(directory / "other.jsonl", [asked])}
    data = _data(directory, _write(directory / "malicious.jsonl", [f" {asked.upper()}?"]), harmful_sets=more)
    with pytest.raises(DataError, match=r"test prompts of data\.harmful"):
        check_malicious(data, same=plain)
    data = _data(directory, _write(directory / "malicious.jsonl", ["please paint songs"]))
    check_malicious(data, same=plain, count=1)
    with pytest.raises(DataError, match=r"malicious_count \(2\)"):
        check_malicious(data, same=plain, count=2)


def test_a_source_with_splits_of_its_own_trains_on_its_train_split(directory: Path) -> None:
    source = _write(directory / "malicious.jsonl", ["please dig a"], split="train")
    with open(directory / "malicious.jsonl", "a") as file:
        file.write(json.dumps({"prompt": "please dig b", "response": "sure", "split": "test"}) + "\n")
    every = [json.loads(line)["prompt"] for line in (directory / "harmful.jsonl").read_text().splitlines()]
    (directory / "harmful.jsonl").write_text(
        "".join(json.dumps({"prompt": prompt}) + "\n" for prompt in [*every, "please dig b"])
    )
    check_malicious(_data(directory, source), same=plain)
