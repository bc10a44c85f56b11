"""A real S3 on this machine (moto), behind a proxy that can be told to fail as stores and networks do."""

import contextlib
import http.client
import logging
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import boto3
import pytest
from local_server import LocalServer
from moto.server import ThreadedMotoServer

BUCKET = "sweeps"
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLEOFTESTS00",
    "AWS_SECRET_ACCESS_KEY": "secret+of/the+tests/000000000000000",
}


class LocalS3(LocalServer):
    """Passes requests on to the store at ``behind``, but for what :attr:`out`, :attr:`slow` and :attr:`losing` say."""

    def __init__(self, behind: tuple[str, int]) -> None:
        self._behind = behind
        self.out = False
        """Answer 503 to everything."""
        self.slow = 0.0
        """Seconds that every answer takes longer."""
        self.losing = 0
        """So many writes are carried out, and the connection is closed instead of an answer."""
        self.requests: list[tuple[str, str]] = []
        """Method and path of each."""

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """What answers the requests."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                server.requests.append((self.command, self.path))
                if server.out:
                    self._answer(503, {}, b"")
                    return
                time.sleep(server.slow)
                store = http.client.HTTPConnection(*server._behind, timeout=60)
                store.request(self.command, self.path, body, dict(self.headers))
                answer = store.getresponse()
                content = answer.read()
                store.close()
                if server.losing and self.command == "PUT":
                    server.losing -= 1
                    self.close_connection = True
                    self.connection.close()
                    return
                self._answer(answer.status, dict(answer.getheaders()), content)

            def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
                self.send_response_only(status)
                for name, value in headers.items():
                    if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                        self.send_header(name, value)
                head = self.command == "HEAD"
                self.send_header("Content-Length", headers.get("Content-Length", "0") if head else str(len(content)))
                self.end_headers()
                if not head:
                    self.wfile.write(content)

            def handle(self) -> None:
                with contextlib.suppress(OSError, ValueError):  # a connection that was closed instead of an answer
                    super().handle()

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on

            def log_message(self, *_: object) -> None:
                """Silent."""

        return Handler

    @property
    def endpoint(self) -> str:
        """What ``AWS_ENDPOINT_URL`` has to be."""
        return self.url.removesuffix("/v1")

    def environment(self) -> dict[str, str]:
        """What a process needs to find it."""
        return {**KEYS, "AWS_ENDPOINT_URL": self.endpoint, "AWS_REGION": "us-east-1"}


@contextlib.contextmanager
def local_s3() -> Iterator[LocalS3]:
    """A store with one bucket, for as long as the context lasts; this process's environment points to it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    try:
        with LocalS3(moto.get_host_and_port()) as server, pytest.MonkeyPatch.context() as patch:
            for name, value in server.environment().items():
                patch.setenv(name, value)
            direct = "http://{}:{}".format(*moto.get_host_and_port())
            boto3.client("s3", endpoint_url=direct, region_name="us-east-1").create_bucket(Bucket=BUCKET)
            yield server
    finally:
        moto.stop()
