"""Asking an OpenAI-compatible server over HTTP: keys, pauses, further attempts."""

import json
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from urllib3 import BaseHTTPResponse, PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError, TimeoutError

from training.distributed.progress import advance
from training.secrets import keep_secret

LONGEST_WAIT = 60.0
"""Seconds: no pause between attempts is longer, whatever the server asks for."""
LARGEST_REPLY = 64 * 2**20
"""Bytes of a reply, unpacked: the log-probabilities of a long text are some megabytes."""


class TooLargeError(HTTPError):
    """A reply is larger than any that is meant."""


@dataclass(frozen=True)
class Reply:
    """What a server answered."""

    status: int
    """Of HTTP."""
    data: bytes
    """Its body, unpacked."""


class HttpClient:
    """Sends JSON, and tries again what may pass the next time."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        retries: int,
        backoff: float,
        concurrency: int,
        passes: Callable[[int], bool],
        requests_per_minute: float | None = None,
    ) -> None:
        """Connect to nobody yet.

        Args:
            url: base address, which paths are appended to.
            timeout: longest wait for one response, in seconds.
            retries: further attempts.
            backoff: seconds before the second attempt; they double with each further one and are stretched at random,
                unless the server asks for other ones (``Retry-After``).
            concurrency: threads that ask at once.
            passes: whether a status is one that may pass the next time.
            requests_per_minute: most requests a minute, attempts included; None sets no limit.
        """
        self.url = url.rstrip("/")
        self._retries, self._backoff, self._passes = retries, backoff, passes
        self._pace = Pace(requests_per_minute)
        self._timeout = timeout
        self._pool = PoolManager(maxsize=concurrency, retries=False, timeout=Timeout(timeout))

    def get(self, path: str, headers: dict[str, str]) -> Reply:
        """See :meth:`post`."""
        return self._asked("GET", path, None, headers)

    def post(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> Reply:
        """The first answer that is neither lost nor to be tried again, or the last of all attempts.

        Raises:
            HTTPError: the last attempt got no answer, or not the whole of it in time.
        """
        return self._asked("POST", path, body, headers)

    def _asked(self, method: str, path: str, body: dict[str, Any] | None, headers: dict[str, str]) -> Reply:
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            advance()
            self._pace.wait()
            wanted = None
            try:
                response = self._pool.request(
                    method, self.url + path, json=body, headers=headers, preload_content=False
                )
                reply = Reply(response.status, self._read(response))
                if last or not self._passes(reply.status):
                    return reply
                wanted = _retry_after(response)
            except HTTPError:
                if last:
                    raise
            jittered = self._backoff * 2**attempt * (1 + random.random())
            time.sleep(min(LONGEST_WAIT, jittered if wanted is None else wanted))
        raise AssertionError("the last attempt returns or raises")

    def _read(self, response: BaseHTTPResponse) -> bytes:
        """The body of ``response``: neither a flood nor a trickle holds whoever asked."""
        pieces, size, deadline = [], 0, time.monotonic() + self._timeout
        try:
            while piece := response.read1(2**20):
                pieces.append(piece)
                size += len(piece)
                if size > LARGEST_REPLY:
                    raise TooLargeError(f"more than {LARGEST_REPLY:,} bytes")
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not all of it within {self._timeout:g} s")
        except BaseException:
            response.close()
            raise
        response.release_conn()
        return b"".join(pieces)


class Pace:
    """Lets callers of all threads through evenly, so many a minute."""

    def __init__(self, per_minute: float | None) -> None:
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Return when it is the caller's turn."""
        with self._lock:
            turn = max(self._next, time.monotonic())
            self._next = turn + self._gap
        time.sleep(max(0.0, turn - time.monotonic()))


def key_headers(variable: str | None) -> dict[str, str] | None:
    """The request headers with the key in the environment variable; none without one, and None where it is not set."""
    if variable is None:
        return {}
    keep_secret(variable)  # a server may repeat it in what it refuses
    key = os.environ.get(variable, "").strip()
    return {"Authorization": f"Bearer {key}"} if key else None


def listed_models(response: Reply) -> list[dict[str, Any]] | None:
    """What a server answered to ``GET /models``, an entry per model; None where that has another form."""
    try:
        entries = json.loads(response.data)["data"]
        return [{**entry, "id": str(entry["id"])} for entry in entries]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _retry_after(response: BaseHTTPResponse) -> float | None:
    """Seconds that the server asks to wait, none where it does not say."""
    try:
        return Retry().get_retry_after(response)
    except (HTTPError, ValueError, OverflowError, TypeError):  # neither a number nor a date
        return None
