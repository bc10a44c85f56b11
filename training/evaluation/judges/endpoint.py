"""A judge behind an OpenAI-compatible server."""

import json
import logging
import os
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from urllib3 import BaseHTTPResponse, PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError

from training.config.judges import EndpointJudge
from training.errors import JudgeError
from training.evaluation.judges.base import Exchange, Verdict, encodable
from training.evaluation.judges.formats import FORMATS

log = logging.getLogger(__name__)

_LONGEST_WAIT = 60.0
"""Seconds: no pause between attempts is longer, whatever the server asks for."""
_GIVE_UP = 16
"""Requests in a row that failed for good, after which the rest of the exchanges stay unknown without being asked."""


class Endpoint:
    """Asks a server over HTTP; what it does not answer, or answers in another form, is unknown."""

    def __init__(self, config: EndpointJudge) -> None:
        self.config = config
        self.name, self.asks = config.name, config.asks
        self._format = FORMATS[config.format]
        self._pace = Pace(config.requests_per_minute)
        self._pool = PoolManager(maxsize=config.concurrency, retries=False, timeout=Timeout(config.timeout))

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """The server's verdicts, at most ``concurrency`` requests at a time.

        Raises:
            JudgeError: the environment variable of the key is not set.
        """
        headers = headers_of(self.config)
        failures = _Failures()
        with ThreadPoolExecutor(self.config.concurrency) as workers:
            answers = workers.map(lambda exchange: self._asked(exchange, headers, failures), exchanges)
            verdicts = list(answers)
        if failures.total:
            log.warning(
                "judge %s: %d of %d requests to %s failed, the last with %s; their verdicts are unknown",
                self.name,
                failures.total,
                len(exchanges),
                self.config.url,
                failures.last,
            )
        return verdicts

    def _asked(self, exchange: Exchange, headers: dict[str, str], failures: "_Failures") -> Verdict:
        if failures.in_a_row >= _GIVE_UP:
            failures.add(failures.last)
            return None
        try:
            response = self._posted(body_of(self.config, encodable(exchange)), headers)
        except HTTPError as error:
            failures.add(type(error).__name__)
            return None
        if response.status != 200:
            failures.add(f"status {response.status}")
            return None
        failures.in_a_row = 0
        return self._format.verdict(text_of(response.data), self.asks)

    def _posted(self, body: dict[str, Any], headers: dict[str, str]) -> BaseHTTPResponse:
        """The first answer that is neither lost nor to be tried again, or the last of all attempts.

        Raises:
            HTTPError: the last attempt got no answer.
        """
        url = self.config.url.rstrip("/") + ("/chat/completions" if self.config.api == "chat" else "/completions")
        for attempt in range(self.config.retries + 1):
            last = attempt == self.config.retries
            self._pace.wait()
            wanted = None
            try:
                response = self._pool.request("POST", url, json=body, headers=headers)
                if last or not (response.status == 429 or response.status >= 500):
                    return response
                wanted = _retry_after(response)
            except HTTPError:
                if last:
                    raise
            jittered = self.config.backoff * 2**attempt * (1 + random.random())
            time.sleep(min(_LONGEST_WAIT, jittered if wanted is None else wanted))
        raise AssertionError("the last attempt returns or raises")


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


class _Failures:
    """Requests that failed for good."""

    def __init__(self) -> None:
        self.total = 0
        self.in_a_row = 0
        self.last = ""
        self._lock = threading.Lock()

    def add(self, reason: str) -> None:
        """Count one."""
        with self._lock:
            self.total += 1
            self.in_a_row += 1
            self.last = reason


def headers_of(config: EndpointJudge) -> dict[str, str]:
    """The request headers, with the key where one is named.

    Raises:
        JudgeError: the environment variable is not set.
    """
    if config.api_key_env is None:
        return {}
    key = os.environ.get(config.api_key_env, "")
    if not key:
        raise JudgeError(
            f"judge {config.name}: api_key_env ({config.api_key_env}) is not set in the environment: export it"
        )
    return {"Authorization": f"Bearer {key}"}


def body_of(config: EndpointJudge, exchange: Exchange) -> dict[str, Any]:
    """The request for one verdict."""
    wanted = FORMATS[config.format]
    body = {"model": config.model, "temperature": 0, "max_tokens": wanted.max_new_tokens}
    if config.api == "chat":
        return body | {"messages": wanted.messages(exchange)}
    return body | {"prompt": wanted.prompt(exchange)}


def text_of(data: bytes) -> str:
    """What the model said in a response body; empty where the body has another form."""
    try:
        choice = json.loads(data)["choices"][0]
        text = choice["message"]["content"] if "message" in choice else choice["text"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return ""
    return text if isinstance(text, str) else ""


def _retry_after(response: BaseHTTPResponse) -> float | None:
    """Seconds that the server asks to wait, none where it does not say."""
    try:
        return Retry().get_retry_after(response)
    except HTTPError:  # neither a number nor a date
        return None
