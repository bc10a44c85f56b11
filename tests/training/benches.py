"""A workbench over a tiny model directory and small files, as a function that ranks can run."""

import json
from pathlib import Path
from typing import Any

import torch
from tiny import tiny_llama, weights_of

from training.config import DataConfig, DirectionConfig, EvaluationConfig, Source, TrialConfig
from training.distributed.sharding import sharded
from training.loop.train import StepReport
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


def bench(directory: Path, like: TrialConfig | None = None, out: str = "out") -> Workbench:
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
        directory / out,
        name="tiny",
        like=like,
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


def in_shards(argument: dict[str, Any]) -> list[dict[str, Any]]:
    """What each trial measured, reported and left behind, with the base model in the form of the first trial.

    Between trials no parameter of a sharded base model is whole on any rank, and this rank's parts are bit for bit what
    they were.
    """
    directory, trials = Path(argument["directory"]), [TrialConfig.model_validate(one) for one in argument["trials"]]
    made = bench(directory, trials[0], argument["out"])
    made.prepare()
    before = _parts(made)
    found = []
    for number, trial in enumerate(trials):
        reports: list[StepReport] = []
        saved = directory / argument["out"] / f"saved-{number}"
        measured = made.run(trial, lambda one, to=reports: bool(to.append(one)), save=saved, rungs=(2,))  # type: ignore[misc]
        after = _parts(made)
        assert list(after) == list(before)
        assert all(torch.equal(after[name], before[name]) for name in before)
        found.append(
            {
                "metrics": measured.report.metrics,
                "answers": [row["answer"] for row in measured.answers],
                "losses": [one.scores.metrics["train/loss"] for one in reports if not one.rung],
                "rungs": [one.scores.metrics for one in reports if one.rung],
            }
        )
    base = made.run(None, lambda _report: False)
    unit = made.direction.unit
    return [
        *found,
        {
            "metrics": base.report.metrics,
            "fingerprint": made.model_fingerprint,
            "direction": unit.tolist(),
            "elements": sum(part.numel() for part in before.values()),
        },
    ]


def _parts(made: Workbench) -> dict[str, torch.Tensor]:
    """What this rank holds of the base model, by the names of parameters."""
    if not sharded(made.model):
        return weights_of(made.model)
    statuses = {parameter.ds_status.name for parameter in made.model.parameters()}
    assert statuses == {"NOT_AVAILABLE"}, "a parameter is whole between trials"
    return {name: parameter.ds_tensor.clone() for name, parameter in made.model.named_parameters()}
