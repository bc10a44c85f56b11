"""A workbench over a tiny model directory and small files, as a function that ranks can run."""

import json
from pathlib import Path
from typing import Any

import torch
from tiny import tiny_llama, weights_of

from training.config import DataConfig, DirectionConfig, EvaluationConfig, Source, TrialConfig
from training.workbench import Workbench

ACTIONS = ("bake bread", "build a house", "cut grass", "dig soil", "sing songs", "paint walls")


def write_files(directory: Path, tokenizer: Any) -> None:
    """A model directory and the five sources."""
    tiny_llama(max_position_embeddings=256).save_pretrained(directory / "model")
    tokenizer.save_pretrained(directory / "model")
    kinds = {
        "task": ("tell me how to {} {}", "well {} then"),
        "safety": ("please {} badly {}", "sorry"),
        "harmful": ("please {} badly {}", "sorry"),
        "harmless": ("please {} well {}", "{}"),
        "borderline": ("tell me to {} badly {}", "{}"),
    }
    for name, (prompt, response) in kinds.items():
        rows = [
            {"prompt": prompt.format(action, number), "response": response.format(action)}
            for action in ACTIONS
            for number in range(6)
        ]
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def bench(directory: Path) -> Workbench:
    """The workbench over :func:`write_files`."""
    sources = {
        name: Source(path=str(directory / f"{name}.jsonl"))
        for name in ("task", "safety", "harmful", "harmless", "borderline")
    }
    few = EvaluationConfig(harmful=4, harmless=4, borderline=4, task=4, max_new_tokens=3)
    return Workbench(
        directory / "model",
        DataConfig(**sources),
        DirectionConfig(prompts=8, filter=False, causal=None),
        few,
        directory / "out",
        name="tiny",
    )


def run_trials(argument: dict[str, Any]) -> list[dict[str, float]]:
    """The metrics of each trial, after checking that the base model is bit for bit what it was."""
    made = bench(Path(argument["directory"]))
    made.prepare()
    before = weights_of(made.model)
    found = []
    for settings in argument["trials"]:
        trial = None if settings is None else TrialConfig.model_validate(settings)
        found.append(made.run(trial, lambda _report: False).report.metrics)
        after = weights_of(made.model)
        assert list(after) == list(before)
        assert all(torch.equal(after[name], before[name]) for name in before)
    return found
