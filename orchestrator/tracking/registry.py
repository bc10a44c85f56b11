"""A trial's exported weights as a version of a registered model in MLflow."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from orchestrator.errors import TrackingError
from orchestrator.tracking.front_table import MAX_TEXT
from orchestrator.tracking.store import check_tracking
from training.secrets import without_secrets

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

ALIAS = "procon-front"
"""Of the version that is the newest registered member of a front."""
FOLDER = "exported"
"""Among the artifacts of the trial's run, where a server keeps weights that it is given."""


@dataclass(frozen=True)
class Registration:
    """A place for a version, once nothing can be refused any more."""

    name: str
    """Of the registered model."""
    uri: str
    """Of the store."""
    run: str
    """Of the trial."""


def check_registration(name: str, uri: str, run: str | None, advice: str) -> Registration:
    """Refuse a registration before any weights are written.

    Args:
        name: of the registered model.
        uri: of the store.
        run: that stands for the trial there, as far as is known.
        advice: the command that brings the sweep into the store.

    Raises:
        TrackingError: the name is none, the store cannot be used, or has no run of the trial.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.utils.validation import _validate_model_name

    try:
        _validate_model_name(name)
    except MlflowException as error:
        raise TrackingError(
            f"--register ({name!r}) is no name of a registered model: write one without / and :, such as llama3-safe"
        ) from error
    check_tracking(uri)
    if run is None or _found(_client(uri), run) is None:
        raise TrackingError(f"--register needs the trial's run in {without_secrets(uri)}, which has none: {advice}")
    return Registration(name, uri, run)


def register(
    place: Registration, folder: Path, card: str, tags: Mapping[str, str], *, on_front: bool
) -> tuple[str, str]:
    """Make ``folder`` the newest version of the registered model, and return its number and where its weights are.

    A store on this machine takes the folder where it lies. A server is given the files, since it takes no path of
    another machine.

    Args:
        place: of :func:`check_registration`.
        folder: the exported weights.
        card: the version's description.
        tags: of the version.
        on_front: whether it gets the alias :data:`ALIAS`.

    Raises:
        TrackingError: the store does not take it.
    """
    from mlflow.exceptions import MlflowException

    client = _client(place.uri)
    try:
        run = client.get_run(place.run)
        source = folder.resolve().as_uri()
        if urlsplit(place.uri).scheme in ("http", "https"):
            client.log_artifacts(place.run, str(folder), FOLDER)
            source = f"{run.info.artifact_uri}/{FOLDER}"
        try:
            client.create_registered_model(place.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        made = client.create_model_version(place.name, source, place.run, tags=dict(tags), description=card[:MAX_TEXT])
        if on_front:
            client.set_registered_model_alias(place.name, ALIAS, made.version)
    except (MlflowException, OSError) as error:
        raise TrackingError(
            f"{folder} is written, but {without_secrets(place.uri)} does not take it as a version of {place.name} "
            f"({without_secrets(str(error))})"
        ) from error
    return str(made.version), source


def _client(uri: str) -> "MlflowClient":
    from mlflow import MlflowClient

    return MlflowClient(uri, registry_uri=uri)


def _found(client: "MlflowClient", run: str) -> "Run | None":
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise TrackingError(f"the MLflow store cannot be asked ({without_secrets(str(error))})") from error
