"""The runs of the study, read from a sweep's journal and answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.front.outcomes import Outcomes, Prompt, outcomes
from orchestrator.record.answers import AnswerFolder
from orchestrator.record.folder import ANSWERS, JOURNAL
from orchestrator.record.journal import read_journal, records
from orchestrator.record.trials import Status, TrialRecord

Table = NDArray[np.float64]

RATES = {
    "safety/attack_success_rate": "attack success",
    "safety/compliance_rate": "compliance",
    "safety/over_refusal": "over-refusal",
    "utility/accuracy": "accuracy",
    "utility/accuracy/old_skill": "old skills",
    "utility/coherence": "coherence",
}
"""Heading of every rate that the study shows."""

PLAIN = "IFT"
BASE = "base model"
AVERAGED = "EMA of weights"
EXTRA = "ProCon^wu extra"
"""The warm-up as the paper has it, before the training; its steps follow."""
SAFETY_ONLY = (f"{EXTRA} 20", f"{EXTRA} 80")
"""Methods that have an arm with safety data and none without."""
METHODS = (
    PLAIN,
    AVERAGED,
    "ProCon^s",
    "ProCon^wu within",
    f"{EXTRA} 20",
    f"{EXTRA} 40",
    f"{EXTRA} 80",
    f"{EXTRA} 160",
    "random direction",
    "SDP",
    "feature L2",
    "SafeGrad",
    "null space",
)
OF_TYPE = {
    "random_direction": "random direction",
    "sdp": "SDP",
    "feature_l2": "feature L2",
    "safe_grad": "SafeGrad",
    "null_space": "null space",
}
SEES_SAFETY = ("SafeGrad",)
"""Methods that use safety samples even where none is trained on."""
SAFETY = " + safety data"
ARMS = tuple(
    method + ending for ending in ("", SAFETY) for method in METHODS if ending == SAFETY or method not in SAFETY_ONLY
)


@dataclass(frozen=True)
class Run:
    """One fine-tuning run of the study, its model scaled, or (``arm`` ``base model``) the untouched model of a base."""

    base: str
    """Name of the base model."""
    arm: str
    """One of ``ARMS``, or ``base model``."""
    seed: int
    """Of the fine-tuning."""
    metrics: Mapping[str, float]
    """The final measurement."""
    outcomes: Mapping[str, Outcomes]
    """By rate, what every prompt came to."""
    scale: float = 1.0
    """Its place on the line from the untouched (0) to the trained model (1)."""


def arm_of(trial: Mapping[str, Any]) -> str:
    """The arm that a trial's configuration belongs to."""
    constraint = trial["constraint"]
    if constraint["type"] != "procon":
        method = OF_TYPE[constraint["type"]]
    elif not constraint["alpha"]:
        method = PLAIN if trial.get("ema_decay") is None else AVERAGED
    else:
        method = _by_schedule(constraint)
    return method + (SAFETY if trial["safety_share"] else "")


def _by_schedule(constraint: Mapping[str, Any]) -> str:
    if constraint["warmup_steps"] == "all":
        return "ProCon^s"
    return f"{EXTRA} {constraint['warmup_steps']}" if constraint["warmup"] == "extra" else "ProCon^wu within"


def read_runs(folder: Path) -> tuple[list[Run], list[TrialRecord]]:
    """The finished runs of the sweep in ``folder`` and the trials that did not finish.

    Untouched models are among the runs, and scaled models where they were measured in full.

    Raises:
        ValueError: the answers of a run do not add up to its journal's counts.
    """
    answers = AnswerFolder(folder / ANSWERS)
    found, lost = [], []
    for record in records(read_journal(folder / JOURNAL)):
        if record.status is not Status.FINISHED:
            lost.append(record)
        elif record.kind in ("trial", "scaled") or record.label == "base":
            arm = arm_of(record.trial) if record.trial else BASE
            known = {name: _outcomes(record, answers[record.id], name) for name in RATES}
            found.append(Run(record.model, arm, record.seed or 0, record.report.metrics, known, record.scale))
    return sorted(found, key=lambda run: (run.base, run.arm, run.seed, run.scale)), lost


def _outcomes(record: TrialRecord, rows: Sequence[Mapping[str, Any]], metric: str) -> Outcomes:
    count = record.report.counts[metric]
    found = outcomes(rows, metric, count)
    if found is None:
        raise ValueError(f"{record.id}: its answers do not give {metric} {count}")
    return found


def line_of(runs: Sequence[Run], arm: str, base: str, seed: int) -> list[Run]:
    """The models on the line from the untouched one to that of ``arm`` under ``seed``, by ascending scale.

    Empty where the trained model is missing, or no scaled one was measured.
    """
    found = [run for run in runs if (run.arm, run.base, run.seed) == (arm, base, seed)]
    untouched = [replace(run, scale=0.0) for run in runs if (run.arm, run.base) == (BASE, base)]
    line = sorted([*untouched, *found], key=lambda run: run.scale)
    scales = [run.scale for run in line]
    return line if 1.0 in scales and len(set(scales) - {0.0, 1.0}) else []


def of_arm(runs: Sequence[Run], arm: str) -> list[Run]:
    """The runs of ``arm``, by base and seed."""
    return [run for run in runs if run.arm == arm]


def common_prompts(runs: Sequence[Run], metric: str) -> list[Prompt]:
    """The prompts on which every run has an outcome."""
    return sorted(set.intersection(*(set(run.outcomes[metric]) for run in runs)))


def outcome_table(runs: Sequence[Run], metric: str, prompts: Sequence[Prompt]) -> Table:
    """``[runs, prompts]`` of 0 and 1."""
    return np.array([[float(run.outcomes[metric][prompt]) for prompt in prompts] for run in runs])


def pairs(runs: Sequence[Run], first: str, second: str) -> list[tuple[Run, Run]]:
    """The runs of two arms that share base and seed."""
    others = {(run.base, run.seed): run for run in of_arm(runs, second)}
    return [(run, others[run.base, run.seed]) for run in of_arm(runs, first) if (run.base, run.seed) in others]
