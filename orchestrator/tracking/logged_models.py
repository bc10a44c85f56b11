"""Members of a front as MLflow's logged models: their settings and metrics, and where their weights are."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.front.schema.document import ModelFront
from orchestrator.front.schema.entry import TrialEntry
from orchestrator.tracking.front_table import stable_text
from orchestrator.tracking.index import RunIndex
from orchestrator.tracking.measured import BY_LAYER, PARETO, SELECTED, Place

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

PARENT, CHECKPOINT = "procon.parent", "procon.checkpoint"
"""Tags of a logged model: the parent run that it belongs to, the folder that keeps its weights on the sweep's disk."""
KIND = "procon"
READY: Final = "READY"


def log_front_models(
    index: RunIndex, parent: str, body: ModelFront, checkpoints: Path | None, tags: Mapping[str, str]
) -> None:
    """Make every member a logged model, once, and tell of those that have left the front that they have.

    No weights are copied: a tag names the folder of the checkpoint, where it is kept.

    Args:
        index: the experiment's runs.
        parent: run of the members' model.
        body: the front of that model.
        checkpoints: holds a folder a trial; None where that is not known.
        tags: of the sweep.
    """
    known = _known(index, parent)
    chosen = body.choice.trial if body.choice is not None else None
    for trial in body.trials:
        run = index.find(trial.id)
        if run is None or not (trial.on_front or run in known):
            continue
        folder = checkpoints / (trial.scaled_of or trial.id) if checkpoints is not None else None
        place = Place.of(trial, chosen)
        own = {PARETO: str(place.on_front).lower(), SELECTED: str(place.selected).lower()}
        own[CHECKPOINT] = str(folder) if folder is not None and folder.is_dir() else ""
        model = known.get(run) or _created(index, parent, run, trial, {**tags, **own})
        if str(model.status) != READY:
            _complete(index, run, trial, model)
        changed = {name: value for name, value in own.items() if model.tags.get(name, "") != value}
        if changed:
            index.client.set_logged_model_tags(model.model_id, changed)


def _known(index: RunIndex, parent: str) -> dict[str, "LoggedModel"]:
    """The models of ``parent`` by the run that each is of."""
    found: dict[str, LoggedModel] = {}
    token: str | None = None
    while True:
        page = index.client.search_logged_models(
            [str(index.experiment_id)], f"tags.`{PARENT}` = '{parent}'", max_results=50, page_token=token
        )
        found |= {str(model.source_run_id): model for model in page}
        token = page.token or None
        if token is None:
            return found


def _created(index: RunIndex, parent: str, run: str, trial: TrialEntry, tags: Mapping[str, str]) -> "LoggedModel":
    return index.client.create_logged_model(
        str(index.experiment_id),
        name=re.sub(r"[^\w-]+", "-", trial.id, flags=re.ASCII),
        source_run_id=run,
        tags={PARENT: parent, "procon.trial": trial.id, **tags},
        params={path: stable_text(value) for path, value in trial.params.items()},
        model_type=KIND,
    )


def _complete(index: RunIndex, run: str, trial: TrialEntry, model: "LoggedModel") -> None:
    """The metrics that the run holds already, as the model's, and its end."""
    from mlflow.entities import LoggedModelOutput, Metric

    wanted = {name for name in trial.metrics if BY_LAYER not in name}
    wanted |= {f"{name}_{end}" for name in trial.intervals for end in ("low", "high")}
    held = [one for one in index.client.get_run(run).data._metric_objs if one.key in wanted]
    own = [Metric(one.key, one.value, one.timestamp, one.step, model_id=model.model_id, run_id=run) for one in held]
    index.client.log_batch(run, own)
    index.client.log_outputs(run, [LoggedModelOutput(model.model_id, max((one.step for one in held), default=0))])
    index.client.finalize_logged_model(model.model_id, READY)
