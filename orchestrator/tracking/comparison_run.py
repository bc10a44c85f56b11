"""A comparison of models as one run of MLflow: its figures, picture, page, table and document."""

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import TrackingError
from orchestrator.front.schema.comparison import ModelComparison, NormalisedModel, Uncertain
from orchestrator.report.side_by_side import leads_in_words
from orchestrator.tracking.batches import Batches, Point
from orchestrator.tracking.front_table import MAX_TEXT
from orchestrator.tracking.index import IDENTITY, RunIndex, milliseconds
from orchestrator.tracking.looks import picture_of
from orchestrator.tracking.writes import End

EXPERIMENT = "procon comparisons"
KEY = "comparison/models"
"""Under which a sweep remembers the run; no trial id contains a slash."""
TABLE, LOGGED_TABLES = "comparison_table.json", "mlflow.loggedArtifacts"


def log_comparison(
    found: ModelComparison, files: Sequence[Path], uri: str, artifact_location: str | None, what: str
) -> str:
    """Log ``found`` and its ``files`` as a run of the experiment ``EXPERIMENT``, and return the run's id.

    Args:
        found: the models.
        files: of ``write_comparison``.
        uri: of the store.
        artifact_location: where a new experiment keeps artifacts; None leaves it to the store.
        what: was compared: the same again goes into the same run.

    Raises:
        TrackingError: the store does not take it.
    """
    from mlflow.exceptions import MlflowException

    index = RunIndex(uri, EXPERIMENT, artifact_location, lambda _key, _run: None, {})
    identity = hashlib.sha256(what.encode("utf-8", "replace")).hexdigest()[:16]
    try:
        return put_comparison(index, Batches(index), found, files, identity)
    except (MlflowException, OSError) as error:
        raise TrackingError(f"MLFLOW_TRACKING_URI ({uri!r}) does not take the comparison ({error})") from error
    finally:
        index.close()


def put_comparison(
    index: RunIndex, batches: Batches, found: ModelComparison, files: Sequence[Path], identity: str
) -> str:
    """The run of a comparison, made or brought up to date, and ended; its id.

    Args:
        index: the experiment's runs.
        batches: writes to them.
        found: the models.
        files: page, picture and document.
        identity: by which the run is found again.
    """
    name = "compared: " + " · ".join(model.name for model in found.models)
    run = index.find_or_create(KEY, name[:250], {"procon.kind": "comparison", IDENTITY: identity})
    for file in files:
        index.client.log_artifact(run, str(file))
    index.client.log_text(run, json.dumps(_rows(found)), TABLE)
    now = time.time()
    points = [
        Point(f"normalised/{what}/{_legal(model.name)}{end}", value, 0, now)
        for model in found.models
        for (what, end), value in normalised_metrics(model).items()
    ]
    tags = {
        LOGGED_TABLES: json.dumps([{"path": TABLE, "type": "table"}]),
        "mlflow.note.content": _note(found, picture_of(run, "comparison.png")),
        "procon.safety": found.safety,
        "procon.utility": found.utility,
        "procon.rule": found.rule[:MAX_TEXT],
    }
    ended = run in index.ended
    batches.log(run, points, tags=tags, again=True, end=None if ended else End("FINISHED", milliseconds(now)))
    return run


def normalised_metrics(model: NormalisedModel) -> dict[tuple[str, str], float]:
    """Hypervolume, and safety at each share of the task gain, with their intervals: by name and ``_low``/``_high``."""
    shown: list[tuple[str, Uncertain | None]] = [("hypervolume", model.hypervolume)]
    shown += [(f"safety_at_{at.level:g}", at.safety) for at in model.at]
    values: dict[tuple[str, str], float] = {}
    for what, one in shown:
        if one is not None:
            values |= {(what, ""): one.value, (what, "_low"): one.low, (what, "_high"): one.high}
    return values


def _legal(name: str) -> str:
    return "".join(character if character.isalnum() or character in "-_./ " else "_" for character in name)


def _rows(found: ModelComparison) -> dict[str, object]:
    """The models as the table that MLflow shows (pandas' ``split`` layout)."""
    figures = {model.name: normalised_metrics(model) for model in found.models}
    names = list(dict.fromkeys(name for values in figures.values() for name in values))
    rows = [
        [model.name, model.chosen or "", *(figures[model.name].get(name) for name in names)] for model in found.models
    ]
    return {"columns": ["model", "take", *map("".join, names)], "data": rows}


def _note(found: ModelComparison, picture: str) -> str:
    """The description of the run in Markdown."""
    lines = ["| model | hypervolume | take | safety regained | task gain kept |", "|---|---|---|---|---|"]
    for model in found.models:
        point = next((point for point in model.front if point.id == model.chosen), None)
        shares = f"{point.safety} | {point.utility}" if point is not None else "- | -"
        lines.append(f"| {model.name} | {model.hypervolume or '-'} | {model.chosen or '-'} | {shares} |")
    text = "\n".join([*leads_in_words(found), "", *lines, "", *found.basis, "", "The page is comparison.html."])
    return f"{text[: MAX_TEXT - len(picture) - 2]}\n\n{picture}"
