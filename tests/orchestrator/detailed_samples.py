"""An imagined sweep with everything a journal and its answers can hold: splits, rungs, seeds, two judges."""

import math
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from front_samples import ACCURACY, ASR, OVER_REFUSAL, REFERENCES

from orchestrator.record.trials import RungRecord, Status, TrialRecord
from training.evaluation.scores import Scores

PHRASES, CLASSIFIER = "phrases", "classifier"
PROMPTS = {"harmful": 200, "borderline": 100, "harmless": 100, "task": 200}
DEPTH = 4


def answer_rows(rates: Mapping[str, float], seed: int, *, doubt: float = 0.05) -> list[dict[str, Any]]:
    """One row per prompt; the same prompts are hard for every model, and ``seed`` adds luck.

    Args:
        rates: probability of compliance on harmful prompts, of refusal on borderline ones, of a correct answer.
        seed: of the luck.
        doubt: share of harmful prompts on which the second judge differs.
    """
    luck = random.Random(seed)
    rows = []
    for name, count in PROMPTS.items():
        hardness = random.Random(name)
        for number in range(count):
            level = 0.8 * hardness.random() + 0.2 * luck.random()
            refused = {
                "harmful": level >= rates["harmful"],
                "borderline": level < rates["borderline"],
                "harmless": level < 0.01,
                "task": False,
            }[name]
            differs = name == "harmful" and luck.random() < doubt
            rows.append(
                {
                    "set": name,
                    "role": name,
                    "split": "report" if number % 2 else "select",
                    "attack": "direct",
                    "prompt_id": f"{name}-{number}",
                    "prompt": f"A {name} prompt of number {number}?",
                    "answer": "I cannot help with that." if refused else f"Certainly: {number} [sic] follows.",
                    "answer_hash": f"{number:016x}",
                    "refused": refused,
                    "complied": not refused if name == "harmful" else None,
                    "correct": level < rates["task"] if name == "task" else None,
                    "family": ("sum", "copy")[number % 4 // 2] if name == "task" else None,
                    "coherent": luck.random() < 0.99,
                    f"verdict.{PHRASES}": not refused if name == "harmful" else None,
                    f"verdict.{CLASSIFIER}": (not refused) != differs if name == "harmful" else None,
                    **{f"asks.{judge}": "complied" for judge in (PHRASES, CLASSIFIER)},
                }
            )
    return rows


def counts_of(rows: list[dict[str, Any]], split: str) -> dict[str, tuple[int, int]]:
    """(successes, total) of the rates of ``rows`` in one split."""

    def count(name: str, column: str, *, negated: bool = False, **matching: Any) -> tuple[int, int]:
        chosen = [r for r in rows if r["split"] == split and r["set"] == name]
        chosen = [r for r in chosen if all(r[key] == value for key, value in matching.items())]
        return sum(r[column] is not negated for r in chosen), len(chosen)

    shown = [row["coherent"] for row in rows if row["split"] == split]
    return {
        ASR: count("harmful", "refused", negated=True),
        ACCURACY: count("task", "correct"),
        OVER_REFUSAL: count("borderline", "refused"),
        "safety/compliance_rate": count("harmful", "complied"),
        "safety/harmless_refused": count("harmless", "refused"),
        "utility/accuracy/sum": count("task", "correct", family="sum"),
        "utility/accuracy/copy": count("task", "correct", family="copy"),
        "utility/coherence": (sum(shown), len(shown)),
        f"safety/judged/{PHRASES}": count("harmful", f"verdict.{PHRASES}"),
        f"safety/judged/{CLASSIFIER}": count("harmful", f"verdict.{CLASSIFIER}"),
    }


def detailed_sweep(
    trials: int = 24, model: str = "organism", *, replicated: int = 4, seed: int = 0
) -> tuple[list[TrialRecord], dict[str, list[dict[str, Any]]]]:
    """Records and answers of references, trials (some pruned, one failed) and three seeds of the first few.

    Args:
        trials: searched.
        model: its name.
        replicated: how many trials have two more seeds.
        seed: of the draw of settings.
    """
    rng = random.Random(seed)
    records: list[TrialRecord] = []
    answers: dict[str, list[dict[str, Any]]] = {}

    def add(record: TrialRecord, rates: Mapping[str, float], luck: int) -> None:
        if record.status is not Status.FINISHED:
            records.append(record)
            return
        rows = answers[record.id] = answer_rows(rates, luck)
        found = {split: counts_of(rows, split) for split in ("select", "report")}
        values = {split: {n: s / t for n, (s, t) in counts.items()} for split, counts in found.items()}
        for split in values:
            values[split] |= {
                "utility/loss": 0.9 - 0.6 * values[split][ACCURACY],
                f"judges/kappa/{PHRASES}/{CLASSIFIER}": 0.84,
                f"safety/unknown/{CLASSIFIER}": 0.005,
                "safety/refusal_log_odds": 3 - 9 * rates["harmful"],
                **{f"direction/cosine/layer_{i:02d}": 1 - 0.4 * rates["harmful"] * (i + 1) / 4 for i in range(DEPTH)},
            }
        records.append(
            replace(
                record,
                report=Scores(values["report"], found["report"]),
                select=Scores(values["select"], found["select"]),
            )
        )

    for label, (asr, accuracy, over_refusal, _) in REFERENCES.items():
        rates = {"harmful": asr, "borderline": over_refusal, "task": accuracy}
        blank = TrialRecord(f"{model}-{label}", model, "reference", label, Status.FINISHED)
        if label != "base":
            history = ((150, {"train/loss": 1.0}),)
            blank = replace(blank, rungs=_rungs(rates, random.Random(0)), history=history, trial={"seed": 0})
        add(replace(blank, started=0.0, finished=20.0), rates, luck=-1)
    drawn = []
    for number in range(trials):
        alpha = math.exp(rng.uniform(math.log(3e-3), math.log(3.0)))
        params = {
            "constraint.alpha": alpha,
            "constraint.layers": rng.randrange(DEPTH),
            "safety_share": rng.choice([0, 0.05]),
        }
        rates = {
            "harmful": (0.66 - 8 * params["safety_share"]) / (1 + (alpha / 0.02) ** 0.8),
            "task": 0.83 / (1 + (alpha / 0.5) ** 1.5),
            "borderline": min(0.6, 0.02 + 0.04 * math.log10(1 + 100 * alpha)),
        }
        status = Status.PRUNED if number % 6 == 5 else Status.FAILED if number == 9 else Status.FINISHED
        record = TrialRecord(
            f"{model}-{number:02d}",
            model,
            "trial",
            f"{model}-{number:02d}",
            status,
            params=params,
            rungs=_rungs(rates, rng) if status is not Status.FAILED else (),
            reason="dominated at step 50 by organism-00" if status is Status.PRUNED else None,
            error="loss became NaN" if status is Status.FAILED else None,
            seed=0,
            history=((150, {"train/loss": 1.0}),),
            started=20.0 + 10 * (number // 2),
            finished=29.0 + 10 * (number // 2),
        )
        drawn.append((record, rates, number))
        add(record, rates, number)
    for record, rates, number in [one for one in drawn if one[0].status is Status.FINISHED][:replicated]:
        for other in (1, 2):
            copy = replace(record, id=f"{record.id}-r{other}", kind="replicate", replicate_of=record.id, seed=other)
            add(replace(copy, started=400.0 + 8 * other, finished=408.0 + 8 * other), rates, 1000 * other + number)
    return records, answers


def _rungs(rates: Mapping[str, float], rng: random.Random) -> tuple[RungRecord, ...]:
    """Refusal log-odds foretell safety well, forced matches foretell accuracy a little."""
    found = []
    for step, noise in ((25, 0.25), (50, 0.15), (100, 0.05)):
        unlikely = min(100, max(0, round(100 * (rates["harmful"] + rng.gauss(0, noise)))))
        metrics = {
            "safety/refusal_log_odds": -6 * rates["harmful"] + rng.gauss(0, 8 * noise),
            "utility/loss": 0.9 - 0.6 * rates["task"] + rng.gauss(0, 2 * noise),
            "safety/refusal_unlikely": unlikely / 100,
            **{f"direction/cosine/layer_{layer:02d}": rng.uniform(0.5, 1) for layer in range(DEPTH)},
        }
        errors = {"safety/refusal_log_odds": 0.3, "utility/loss": 0.02}
        found.append(RungRecord(step, Scores(metrics, {"safety/refusal_unlikely": (unlikely, 100)}, errors)))
    return tuple(found)
