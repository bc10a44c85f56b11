"""Which MLflow store is taken, and which is refused before anything starts; servers are real ones."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from orchestrator.errors import TrackingError
from orchestrator.tracking.store import check_tracking, default_tracking_uri


class _Health(BaseHTTPRequestHandler):
    """Healthy at ``/well``, for Ann at ``/locked``, ill at ``/ill``."""

    def do_GET(self) -> None:
        ann = self.path == "/locked/health" and self.headers["Authorization"] == "Basic YW5uOnNlY3JldC8x"
        self.send_response(200 if ann or self.path == "/well/health" else 500)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    running = HTTPServer(("127.0.0.1", 0), _Health)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


def test_sweeps_side_by_side_share_a_store_unless_another_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    runs = tmp_path / "runs"
    expected = (f"sqlite:///{runs}/mlflow.db", (runs / "mlartifacts").as_uri())
    assert default_tracking_uri(runs / "one") == default_tracking_uri(runs / "two") == expected
    monkeypatch.setenv("MLFLOW_TRACKING_URI", " http://there ")
    assert default_tracking_uri(runs / "one") == ("http://there", None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", " ")
    assert default_tracking_uri(runs / "one") == expected


def test_a_server_must_be_healthy(server: str) -> None:
    check_tracking(f"{server}/well")
    check_tracking(f"{server}/well/")
    with pytest.raises(TrackingError, match="answers /health with HTTP 500"):
        check_tracking(f"{server}/ill")


def test_a_server_behind_a_login_is_asked_with_it(server: str) -> None:
    check_tracking(f"{server}/locked".replace("://", "://ann:secret%2F1@"))
    with pytest.raises(TrackingError, match=r"\(.http://\*\*\*@127[^)]*/locked.\) answers /health with HTTP 500"):
        check_tracking(f"{server}/locked".replace("://", "://ann:wrong@"))


def test_a_server_that_is_not_there_is_refused() -> None:
    closed = HTTPServer(("127.0.0.1", 0), _Health)
    closed.server_close()
    with pytest.raises(TrackingError, match=r"cannot be reached \(.*refused"):
        check_tracking(f"http://127.0.0.1:{closed.server_port}")


def test_a_server_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.tracking.store.HEALTH_TIMEOUT", 0.2)
    silent = HTTPServer(("127.0.0.1", 0), _Health)  # takes connections, and nobody serves them
    with pytest.raises(TrackingError, match="no answer within 0 s"):
        check_tracking(f"http://127.0.0.1:{silent.server_port}")
    silent.server_close()


def test_a_file_of_sqlite_needs_no_folder_yet_but_a_place_for_it(tmp_path: Path) -> None:
    check_tracking(f"sqlite:///{tmp_path}/new/deep/mlflow.db")
    with pytest.raises(TrackingError, match="names a folder"):
        check_tracking(f"sqlite:///{tmp_path}")
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match="cannot be written"):
        check_tracking(f"sqlite:///{tmp_path}/file/mlflow.db")


def test_a_folder_is_taken_only_where_mlflow_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    for uri in (str(tmp_path), tmp_path.as_uri()):
        with pytest.raises(TrackingError, match="is a folder"):
            check_tracking(uri)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "TRUE")
    check_tracking(tmp_path.as_uri())
    with pytest.raises(TrackingError, match="scheme that is not supported"):
        check_tracking("postgresql://there/db")
