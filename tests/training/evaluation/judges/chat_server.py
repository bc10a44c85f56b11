"""A real OpenAI-compatible HTTP server in a thread, that can be told to misbehave."""

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from local_server import LocalServer


@dataclass
class Misbehaviour:
    """What happens to one request instead of an answer."""

    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    hang_up: bool = False


def saying(content: Any) -> bytes:
    """A chat completion that says ``content``."""
    return json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": content}}]}).encode()


class ChatServer(LocalServer):
    """Answers chat and text completions with ``reply(text of the request)``; use it in a ``with`` statement."""

    def __init__(self, reply: Callable[[str], str], models: tuple[str, ...] = ("judge",)) -> None:
        self.reply = reply
        self.models = models
        self.script: deque[Misbehaviour] = deque()
        """For the next requests, one each; afterwards the server behaves."""
        self.always: Misbehaviour | None = None
        """For every request."""
        self.asked: list[dict[str, Any]] = []
        """Path, headers, body and arrival (seconds) of every POST."""
        self.delay = 0.0
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()

    def handler(self) -> type[BaseHTTPRequestHandler]:
        return _handler(self)

    def settings(self, **changes: Any) -> dict[str, Any]:
        """The configuration of a judge that asks this server."""
        return {
            "type": "endpoint",
            "url": self.url,
            "model": "judge",
            "format": "harmbench",
            "timeout": 5.0,
            "backoff": 0.001,
            **changes,
        }

    def take(self, path: str, headers: dict[str, str], body: Any) -> Misbehaviour | None:
        """Note a request; what it meets, if it does not meet an answer."""
        with self._lock:
            self.asked.append({"path": path, "headers": headers, "body": body, "at": time.monotonic()})
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            return self.script.popleft() if self.script else self.always

    def done(self) -> None:
        """Note that a request is no longer under way."""
        with self._lock:
            self._at_once -= 1


def _text(content: str | list[dict[str, str]]) -> str:
    """Of a turn, which may come in parts."""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _handler(server: ChatServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            wrong = server.always
            if wrong is not None:
                self._send(wrong.status, wrong.body or b"", wrong.headers, wrong.delay)
            elif self.path == "/v1/models" and server.models:
                listed = [{"id": model, "object": "model"} for model in server.models]
                self._send(200, json.dumps({"object": "list", "data": listed}).encode())
            else:
                self._send(404, b"not found")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            wrong = server.take(self.path, dict(self.headers), body)
            try:
                if wrong is not None and wrong.hang_up:
                    self.close_connection = True
                elif wrong is not None:
                    self._send(wrong.status, wrong.body or b"", wrong.headers, wrong.delay)
                elif self.path == "/v1/chat/completions":
                    text = "\n".join(_text(message["content"]) for message in body["messages"])
                    self._send(200, saying(server.reply(text)), delay=server.delay)
                elif self.path == "/v1/completions":
                    said = {"choices": [{"index": 0, "text": server.reply(body["prompt"])}]}
                    self._send(200, json.dumps(said).encode(), delay=server.delay)
                else:
                    self._send(404, b"not found")
            finally:
                server.done()

        def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, delay: float = 0.0) -> None:
            time.sleep(delay)
            try:
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:  # the client waited no longer
                self.close_connection = True

    return Handler
