"""What the Hub says of a repository, or that it says nothing, within seconds."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from training.data import hub
from training.data.hub import fault_on_hub


class Answer(BaseHTTPRequestHandler):
    """A Hub with one repository."""

    def do_GET(self) -> None:
        known = self.path.startswith("/api/models/some/thing")
        self.send_response(200 if known else 404)
        if not known:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        self.wfile.write(json.dumps({"id": "some/thing", "siblings": []} if known else {"error": "no"}).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "PATIENCE", 1.0)


@pytest.fixture
def served(online: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()


def test_what_is_there_is_no_fault_and_what_is_not_is_named(served: None) -> None:
    assert fault_on_hub("some/thing", "model") is None
    assert "has no such repository, or not for you" in str(fault_on_hub("some/other", "model"))


def test_a_hub_that_does_not_answer_costs_seconds(online: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        begin = time.monotonic()
        assert "the Hugging Face Hub cannot be reached" in str(fault_on_hub("some/thing", "dataset"))
        assert time.monotonic() - begin < 10


@pytest.mark.parametrize("name", ["a/b/c", "some thing", "-x"])
def test_what_cannot_be_an_id_is_asked_of_nobody(name: str) -> None:
    assert "no name of a repository" in str(fault_on_hub(name, "model"))
