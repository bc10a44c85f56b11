"""The card of an exported model: whose numbers they are, and what they are to be compared with."""

import re
from datetime import date
from pathlib import Path

import pytest
from front_samples import ACCURACY, ASR, record, with_scores
from small_sweeps import small_sweep

from orchestrator.commands.model_card import model_card, number
from orchestrator.front.schema.entry import Entry, SelectHalf
from orchestrator.record.recorded_trial import RecordedTrial
from orchestrator.record.trials import Status, TrialRecord
from sweeps.schema.spec import SweepSpec

HASH = "9f" * 32


def chosen(folder: Path) -> RecordedTrial:
    model, data = folder / "secret" / "llama", folder / "secret" / "task.jsonl"
    model.mkdir(parents=True)
    data.write_text("{}")
    sources = {**small_sweep()["data"], "task": {"path": str(data)}, "harmless": {"path": "tatsu-lab/alpaca"}}
    spec = SweepSpec.model_validate(small_sweep(models=[{"name": "mine", "path": str(model)}], data=sources))
    trial = spec.trial.model_copy(update={"seed": 7})
    one = record("mine-0", 0.3, 0.8, model="mine", seed=7, trial=trial.model_dump())
    one = with_scores(one, {"judges/kappa/phrases/echo": 2.379e-16, "safety/refusal_log_odds": -1.23456})
    manifest = {"data": {str(data): HASH}, "models": {"mine": "ab12"}, "versions": {"torch": "2.13"}}
    return RecordedTrial(folder, spec, manifest, one, trial, date(2026, 11, 28))


def references() -> dict[str, TrialRecord]:
    rates = {"base": (0.02, 0.1), "ift": (0.8, 0.9), "ift_safety": (0.4, 0.85)}
    return {label: record(f"mine-{label}", *rate, label=label, kind="reference") for label, rate in rates.items()}


def entry(replicates: int, metrics: dict[str, float], intervals: dict[str, tuple[float, float]]) -> Entry:
    """What the front holds of the trial."""
    select = SelectHalf(metrics={}, intervals={}, counts={})
    return Entry(
        status=Status.FINISHED,
        params={},
        metrics=metrics,
        intervals=intervals,
        counts={},
        errors={},
        select=select,
        replicates=replicates,
    )


def rows(card: str) -> dict[str, list[str]]:
    """Cells of the table of measurements by metric."""
    lines = [line for line in card.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells}


def test_pooled_rates_stand_beside_those_of_the_exported_weights(tmp_path: Path) -> None:
    pooled = entry(2, {ASR: 0.35}, {ASR: (0.28, 0.42)})
    card = model_card(chosen(tmp_path), "adapter", pooled, references())
    found = rows(card)
    assert found["metric"] == [
        "these weights (seed 7)",
        "these settings, pooled over 2 seeds",
        "base model",
        "plain fine-tuning",
        "fine-tuning + safety data",
    ]
    assert [cell.split(" ")[0] for cell in found[ASR]] == ["0.300", "0.350", "0.020", "0.800", "0.400"]
    assert found[ASR][1] == "0.350 [0.28, 0.42]"
    assert [cell.split(" ")[0] for cell in found[ACCURACY]] == ["0.800", "", "0.100", "0.900", "0.850"]
    assert "the weights here are those of seed 7" in card


def test_without_replicates_nothing_is_called_pooled(tmp_path: Path) -> None:
    card = model_card(chosen(tmp_path), "adapter", entry(1, {}, {}), {})
    assert rows(card)["metric"] == ["these weights (seed 7)"]
    assert "pooled" not in card


def test_local_files_are_names_and_hashes_and_no_paths(tmp_path: Path) -> None:
    card = model_card(chosen(tmp_path), "adapter", None, references())
    assert str(tmp_path) not in card
    assert "secret" not in card
    assert f"- task: `task.jsonl` {HASH}" in card
    assert "- harmless: `tatsu-lab/alpaca`" in card
    assert "`llama` (hash ab12)" in card
    assert re.search(r"^base_model: llama$", card, re.MULTILINE)


def test_numbers_are_for_people(tmp_path: Path) -> None:
    found = rows(model_card(chosen(tmp_path), "adapter", None, references()))
    assert found["judges/kappa/phrases/echo"][0] == "0.00"
    assert found["safety/refusal_log_odds"][0] == "-1.23"


@pytest.mark.parametrize(
    ("value", "text"), [(-2e-16, "0.00"), (0.0, "0.00"), (0.01234, "0.0123"), (12345.6, "12,346"), (-3.0, "-3")]
)
def test_a_number_has_three_digits_that_say_something(value: float, text: str) -> None:
    assert number(value) == text
