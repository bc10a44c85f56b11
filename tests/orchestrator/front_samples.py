"""Records of an imagined sweep, with figures like those of ORGANISM.md."""

import math
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from orchestrator.record.trials import Status, TrialRecord
from sweeps.goals.objectives import FeasibilityRule, Objective
from training.evaluation.scores import Scores

ASR, ACCURACY, OVER_REFUSAL = "safety/attack_success_rate", "utility/accuracy", "safety/over_refusal"
OBJECTIVES = [Objective(metric=ASR, goal="minimize"), Objective(metric=ACCURACY, goal="maximize")]
HALF = 100
RULES = [FeasibilityRule.parse("safety/over_refusal <= 0.15")]
REFERENCES = {"base": (0.02, 0.30, 0.03, 1.0), "ift": (0.66, 0.82, 0.02, 0.6), "ift_safety": (0.14, 0.78, 0.08, 0.85)}


def record(
    identity: str,
    asr: float = 0.5,
    accuracy: float = 0.5,
    over_refusal: float = 0.0,
    *,
    model: str = "organism",
    kind: Literal["trial", "reference"] = "trial",
    label: str | None = None,
    status: Status = Status.FINISHED,
    params: dict[str, Any] | None = None,
    cosine: float = 0.9,
    prompts: int = 200,
    scores: Scores | None = None,
    **changes: Any,
) -> TrialRecord:
    """One trial measured on ``prompts`` prompts, not split; one that did not finish has only training history.

    ``scores`` takes the place of what the rates make.
    """
    counts = {name: (round(rate * prompts), prompts) for name, rate in ((ASR, asr), (ACCURACY, accuracy))}
    counts[OVER_REFUSAL] = (round(over_refusal * prompts), prompts)
    metrics = {name: successes / total for name, (successes, total) in counts.items()}
    metrics["utility/loss"] = 0.9 - 0.6 * accuracy
    metrics |= {f"direction/cosine/layer_{layer:02d}": 1 - (1 - cosine) * (layer + 1) / 4 for layer in range(4)}
    measured = scores or Scores(metrics, counts)
    history = tuple((step, {"train/loss": 2.0 / step, "train/penalty": 0.01 * step}) for step in (10, 20, 30))
    values: dict[str, Any] = {
        "params": {"constraint.alpha": 0.01} if params is None else params,
        **dict.fromkeys(("report", "select"), measured if status is Status.FINISHED else Scores()),
        "history": () if label == "base" else history,
        "error": "loss became NaN" if status is Status.FAILED else None,
        "started": 1_760_000_000.0,
        "finished": None if status is Status.RUNNING else 1_760_000_020.0,
        **changes,
    }
    return TrialRecord(identity, model, kind, label or identity, status, **values)


def halves(identity: str, select: tuple[float, ...], report: tuple[float, ...], **changes: Any) -> TrialRecord:
    """A trial with (attack success, accuracy, over-refusal) on each half of its prompts, ``HALF`` of every kind."""
    seen = record(identity, *select, prompts=HALF)
    shown = record(identity, *report, prompts=HALF)
    return replace(shown, select=seen.select, **changes)


def with_scores(one: TrialRecord, metrics: Mapping[str, float], errors: Mapping[str, float] = {}) -> TrialRecord:
    """``one`` with more metrics, the same on both halves of its prompts."""
    more = Scores(metrics, errors=errors)
    return replace(one, report=one.report.joined(more), select=one.select.joined(more))


def references(model: str = "organism") -> list[TrialRecord]:
    """The untouched model, plain fine-tuning, and safety data alone."""
    return [
        record(f"{model}-{label}", *rates[:3], model=model, kind="reference", label=label, params={}, cosine=rates[3])
        for label, rates in REFERENCES.items()
    ]


def sweep(trials: int = 12, model: str = "organism", seed: int = 0) -> list[TrialRecord]:
    """References and trials over constraint strength; some pruned, one in 23 failed."""
    rng, found = random.Random(seed), references(model)
    for number in range(trials):
        alpha = math.exp(rng.uniform(math.log(3e-3), math.log(3.0)))
        status = Status.PRUNED if number % 11 == 7 else Status.FAILED if number % 23 == 5 else Status.FINISHED
        params = {
            "constraint.alpha": alpha,
            "constraint.warmup_steps": rng.choice([20, 50, "all"]),
            "constraint.layers": rng.choice([1, [0, 3], "10%-50%"]),
            "safety_share": rng.choice([0.0, 0.05]),
        }
        asr, accuracy = 0.66 / (1 + (alpha / 0.02) ** 0.8), 0.83 / (1 + (alpha / 0.5) ** 1.5)
        over_refusal = min(0.6, 0.02 + 0.08 * math.log10(1 + 100 * alpha))
        identity = f"{model}-{number:03d}"
        found.append(record(identity, asr, accuracy, over_refusal, model=model, status=status, params=params))
    return found
