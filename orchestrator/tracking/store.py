"""Which MLflow store a sweep writes to, and whether it can be used, before anything starts."""

import http.client
import os
import queue
import threading
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path
from urllib.parse import unquote, urlsplit

from orchestrator.errors import TrackingError
from training.secrets import without_secrets
from training.storage.address import address_of

HEALTH_TIMEOUT = 5.0
"""Seconds that the one probe of a tracking server may take."""
ADVICE = "unset it to write to a local SQLite store"


def default_tracking_uri(out: Path) -> tuple[str, str | None]:
    """Where the sweep in folder ``out`` is tracked.

    Returns:
        (tracking URI, artifact location): ``$MLFLOW_TRACKING_URI`` if set, with the location left to that store;
        else one SQLite file and one artifact folder beside ``out``, shared by all sweeps there; of a sweep in a bucket
        below ``runs/``.
    """
    chosen = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if chosen:
        return chosen, None
    parent = (Path("runs") if address_of(out) is not None else out.parent).absolute()
    return f"sqlite:///{parent / 'mlflow.db'}", (parent / "mlartifacts").as_uri()


def check_tracking(uri: str) -> None:
    """Refuse a store that cannot be used; a tracking server is probed once, for at most five seconds.

    Raises:
        TrackingError: the text names ``MLFLOW_TRACKING_URI``, its value and the fix.
    """
    scheme = urlsplit(uri).scheme
    if scheme in ("http", "https"):
        _check_server(uri)
    elif scheme == "sqlite":
        _check_sqlite(uri)
    elif scheme in ("", "file"):
        if os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() == "true":  # MLflow's own switch
            return
        raise TrackingError(
            f"{_named(uri)} is a folder, and MLflow keeps its file store in maintenance mode only: "
            f"write sqlite:///<absolute path>/mlflow.db, or {ADVICE}"
        )
    else:
        raise TrackingError(
            f"{_named(uri)} has a scheme that is not supported here: give the http(s) address of a "
            f"tracking server (mlflow server --backend-store-uri …), sqlite:///<absolute path>/mlflow.db, or {ADVICE}"
        )


def _named(uri: str) -> str:
    return f"MLFLOW_TRACKING_URI ({without_secrets(uri)!r})"


def _check_server(uri: str) -> None:
    answers: queue.Queue[Exception | None] = queue.Queue()
    # In a thread, since neither name resolution nor a server that answers drop by drop heeds urlopen's time-out.
    threading.Thread(target=lambda: answers.put(_probe(f"{uri.rstrip('/')}/health")), daemon=True).start()
    try:
        error = answers.get(timeout=HEALTH_TIMEOUT)
    except queue.Empty:
        error = TimeoutError()
    if error is None:
        return
    if isinstance(error, urllib.error.HTTPError):
        raise TrackingError(
            f"{_named(uri)} answers /health with HTTP {error.code}, so it is not a healthy MLflow "
            f"server: check the address and the server's log, or {ADVICE}"
        ) from error
    reason = getattr(error, "reason", error)
    why = f"no answer within {HEALTH_TIMEOUT:.0f} s" if isinstance(reason, TimeoutError) else reason
    raise TrackingError(
        f"{_named(uri)} cannot be reached ({why}): start the server, correct the address, or {ADVICE}"
    ) from error


def _probe(address: str) -> Exception | None:
    try:
        with urllib.request.urlopen(_with_login(address), timeout=HEALTH_TIMEOUT):
            return None
    except (OSError, ValueError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
        return error


def _with_login(address: str) -> urllib.request.Request:
    """The request for ``address``, whose user and password, if it has them, go into a header as MLflow sends them."""
    parts = urlsplit(address)
    request = urllib.request.Request(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request.add_header("Authorization", f"Basic {b64encode(login.encode()).decode()}")
    return request


def _check_sqlite(uri: str) -> None:
    path = Path(uri.removeprefix("sqlite://").removeprefix("/") or "mlflow.db")
    if path.is_dir():
        raise TrackingError(f"{_named(uri)} names a folder: write sqlite:///<absolute path>/mlflow.db, or {ADVICE}")
    existing = next(folder for folder in path.absolute().parents if folder.exists())
    target = path if path.exists() else existing
    if not existing.is_dir() or not os.access(target, os.W_OK):
        raise TrackingError(
            f"{_named(uri)} cannot be written ({target} is read-only or no folder): "
            f"choose a folder that you may write to, or {ADVICE}"
        )
