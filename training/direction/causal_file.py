"""``causal.json``: the causal report beside the direction that it is about."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.config import CausalConfig
from training.direction.causal import AnswerCheck, CausalReport, LayerCheck, Refusal
from training.errors import DirectionError

CAUSAL_FILE = "causal.json"


def save_report(report: CausalReport, directory: Path) -> None:
    """Write ``causal.json``."""
    (directory / CAUSAL_FILE).write_text(json.dumps(report.as_json(), indent=2) + "\n", encoding="utf-8")


def load_report(directory: Path, *, expected_direction: str) -> CausalReport:
    """Read what :func:`save_report` wrote; verdicts are worked out anew from what was measured.

    Args:
        directory: where it was saved.
        expected_direction: fingerprint of the direction that it must be about.

    Raises:
        DirectionError: it is missing, damaged, or about another direction.
    """
    path = directory / CAUSAL_FILE
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        harmful, harmless = saved["prompts"]
        report = CausalReport(
            layers=tuple(_layer(row) for row in saved["layers"]),
            harmful=Refusal(**saved["harmful"]),
            harmless=Refusal(**saved["harmless"]),
            random_ablated=tuple(Refusal(**one) for one in saved["random_ablated"]),
            answers={int(layer): AnswerCheck(**check) for layer, check in saved["answers"].items()},
            limits=CausalConfig.model_validate(saved["limits"]),
            prompts=(harmful, harmless),
            direction=saved["direction"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DirectionError(
            f"{path} holds no readable causal report ({error}): extract the direction again"
        ) from error
    if report.direction != expected_direction:
        raise DirectionError(f"{path} is about another direction than the one beside it: extract the direction again")
    return report


def _layer(row: Mapping[str, Any]) -> LayerCheck:
    return LayerCheck(
        layer=row["layer"],
        separation=row["separation"],
        ablated=Refusal(**row["ablated"]),
        clamped=Refusal(**row["clamped"]),
        added=Refusal(**row["added"]),
        random_added=tuple(Refusal(**one) for one in row["random_added"]),
        kl=row["kl"],
    )
