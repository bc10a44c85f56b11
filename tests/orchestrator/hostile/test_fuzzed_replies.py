"""Whatever a server answers, a verdict is unknown or an error is ours, and nobody waits for ever."""

import gzip
import json
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from cases import TEXTS, VALUES, counts, holds, result, spoilt
from hypothesis import strategies as st
from local_server import LocalServer

from training.config import VllmGenerator
from training.config.judges import EndpointJudge
from training.errors import TrainingError
from training.evaluation import http_client
from training.evaluation.generators.vllm_server import VllmServer
from training.evaluation.judges.base import Exchange
from training.evaluation.judges.check import check_judges
from training.evaluation.judges.endpoint import Endpoint

CHAT = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "text": "yes"}]}
COMPLETION = {"choices": [{"token_ids": [1, 2], "text": "a", "prompt_logprobs": [None, {"5": {"logprob": -0.5}}]}]}
LISTED = {"object": "list", "data": [{"id": "base", "parent": None}, {"id": "judge"}]}


class Hostile(LocalServer):
    """Gives every request the same answer."""

    def __init__(self) -> None:
        self.status, self.body, self.pause = 200, b"", 0.0
        self.headers: dict[str, str] = {}

    def handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(server.status)
                for name, value in {"Content-Length": str(len(server.body)), **server.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    pieces = [server.body] if not server.pause else [bytes([one]) for one in server.body]
                    for piece in pieces:
                        self.wfile.write(piece)
                        self.wfile.flush()
                        time.sleep(server.pause)
                except OSError:  # whoever asked is gone
                    self.close_connection = True

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@pytest.fixture(scope="module")
def server() -> Any:
    with Hostile() as running:
        yield running


def asked(server: Hostile) -> None:
    """Everything that is asked of servers."""
    config = VllmGenerator.model_validate(
        {"type": "vllm", "endpoint": server.url, "timeout": 2.0, "retries": 1, "backoff": 0.001}
    )
    vllm = VllmServer(config)
    result(vllm.base, TrainingError)
    result(vllm.check_loading, TrainingError)
    answers = result(lambda: vllm.answers("base", [[1, 2]], 4, frozenset([2])), TrainingError)
    assert answers is None or all(type(token) is int and token >= 0 for token in answers[0])
    values = result(lambda: vllm.log_probabilities("base", [[1, 5]], [1]), TrainingError)
    assert values is None or all(isinstance(value, float) for value in values[0])
    judge = EndpointJudge.model_validate(
        {"type": "endpoint", "name": "j", "url": server.url, "model": "judge", "format": "harmbench", "timeout": 2.0}
        | {"retries": 1, "backoff": 0.001}
    )
    assert Endpoint(judge).judge([Exchange("a", "b")])[0] in (True, False, None)
    result(lambda: check_judges([judge]), TrainingError)


@counts(20, 1500)
def test_any_reply(server: Hostile, count: int) -> None:
    sound = st.sampled_from([CHAT, COMPLETION, LISTED, {"error": {"message": "no"}}, {"detail": "no"}])
    said = st.one_of(sound.flatmap(spoilt), sound, VALUES).map(lambda value: json.dumps(value).encode())
    odd = st.sampled_from([b"", b"[" * 200_000, b'{"choices": ', b"\xff\xfe", b"null", b"9" * 10_000])
    headers = st.dictionaries(
        st.sampled_from(["Retry-After", "Content-Encoding", "Content-Type"]),
        st.one_of(st.sampled_from(["0", "gzip", "utf-8", "9" * 5000, "Thu, 99 Foo 9999999", "-1"]), TEXTS).map(
            lambda text: "".join(sign for sign in text if " " <= sign < "\x7f")
        ),
        max_size=1,
    )

    def check(status: int, body: bytes, headers: dict[str, str]) -> None:
        server.status, server.body, server.headers, server.pause = status, body, headers, 0.0
        asked(server)

    statuses = st.sampled_from([200, 200, 200, 400, 401, 404, 418, 429, 500, 503, 999])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http_client, "LONGEST_WAIT", 0.001)
        holds(count, check, status=statuses, body=st.one_of(said, odd), headers=headers)


def test_a_trickle_ends_with_the_time_of_a_response(server: Hostile) -> None:
    server.status, server.body, server.headers, server.pause = 200, b" " * 500, {}, 0.1
    began = time.monotonic()
    config = VllmGenerator.model_validate({"type": "vllm", "endpoint": server.url, "timeout": 0.5, "retries": 0})
    with pytest.raises(TrainingError, match=r"does not answer \(TimeoutError\)"):
        VllmServer(config).models()
    assert time.monotonic() - began < 10


def test_a_reply_that_unpacks_to_a_gigabyte_is_left(server: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "LARGEST_REPLY", 2**21)
    server.status, server.pause = 200, 0.0
    server.body, server.headers = gzip.compress(b" " * 2**26), {"Content-Encoding": "gzip"}
    config = VllmGenerator.model_validate({"type": "vllm", "endpoint": server.url, "retries": 0})
    with pytest.raises(TrainingError, match=r"does not answer \(TooLargeError\)"):
        VllmServer(config).models()
