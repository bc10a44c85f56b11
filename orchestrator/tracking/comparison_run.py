"""A comparison of models as a run of MLflow: its figures, page and document."""

import time
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import TrackingError
from orchestrator.front.schema.comparison import ModelComparison
from orchestrator.report.side_by_side import leads_in_words
from orchestrator.tracking.front_table import MAX_TEXT
from orchestrator.tracking.index import milliseconds

EXPERIMENT = "procon comparisons"


def log_comparison(found: ModelComparison, files: Sequence[Path], uri: str, artifact_location: str | None) -> str:
    """Log ``found`` and its ``files`` as a run of the experiment ``EXPERIMENT``, and return the run's id.

    Raises:
        TrackingError: the store does not take it.
    """
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        where = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT, artifact_location)
        name = " · ".join(model.name for model in found.models)
        run = client.create_run(where, run_name=name[:MAX_TEXT]).info.run_id
        now = milliseconds(time.time())
        metrics = [Metric(key, value, now, 0) for key, value in _metrics(found).items()]
        params = [Param("safety", found.safety), Param("utility", found.utility), Param("rule", found.rule)]
        tags = [RunTag("procon.kind", "comparison"), RunTag("mlflow.note.content", _note(found)[:MAX_TEXT])]
        client.log_batch(run, metrics, params, tags)
        for file in files:
            client.log_artifact(run, str(file))
        client.set_terminated(run)
    except (MlflowException, OSError) as error:
        raise TrackingError(f"MLFLOW_TRACKING_URI ({uri!r}) does not take the comparison ({error})") from error
    return str(run)


def _metrics(found: ModelComparison) -> dict[str, float]:
    """Hypervolume, and safety at each share of the task gain, with their intervals."""
    values: dict[str, float] = {}
    for model in found.models:
        name = "".join(character if character.isalnum() or character in "-_./ " else "_" for character in model.name)
        shown = [("hypervolume", model.hypervolume), *((f"safety_at_{at.level:g}", at.safety) for at in model.at)]
        for what, one in shown:
            if one is not None:
                key = f"normalised/{what}/{name}"
                values |= {key: one.value, f"{key}_low": one.low, f"{key}_high": one.high}
    return values


def _note(found: ModelComparison) -> str:
    """The description of the run in Markdown."""
    lines = ["| model | hypervolume | take | safety regained | task gain kept |", "|---|---|---|---|---|"]
    for model in found.models:
        point = next((point for point in model.front if point.id == model.chosen), None)
        shares = f"{point.safety} | {point.utility}" if point is not None else "- | -"
        lines.append(f"| {model.name} | {model.hypervolume or '-'} | {model.chosen or '-'} | {shares} |")
    return "\n".join([*leads_in_words(found), "", *lines, "", *found.basis, "", "The figure is comparison.html."])
