"""A judge behind an OpenAI-compatible server."""

import json
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from urllib3.exceptions import HTTPError

from training.config.judges import EndpointJudge
from training.errors import JudgeError
from training.evaluation.http_client import HttpClient, key_headers
from training.evaluation.judges.base import Exchange, Verdict, encodable
from training.evaluation.judges.formats import FORMATS

log = logging.getLogger(__name__)

_GIVE_UP = 16
"""Requests in a row that failed for good, after which the rest of the exchanges stay unknown without being asked."""


class Endpoint:
    """Asks a server over HTTP; what it does not answer, or answers in another form, is unknown."""

    def __init__(self, config: EndpointJudge) -> None:
        self.config = config
        self.name, self.asks = config.name, config.asks
        self._format = FORMATS[config.format]
        self._path = "/chat/completions" if config.api == "chat" else "/completions"
        self._client = HttpClient(
            config.url,
            timeout=config.timeout,
            retries=config.retries,
            backoff=config.backoff,
            concurrency=config.concurrency,
            passes=lambda status: status == 429 or status >= 500,
            requests_per_minute=config.requests_per_minute,
        )

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
            response = self._client.post(self._path, body_of(self.config, encodable(exchange)), headers)
        except HTTPError as error:
            failures.add(type(error).__name__)
            return None
        if response.status != 200:
            failures.add(f"status {response.status}")
            return None
        failures.in_a_row = 0
        return self._format.verdict(text_of(response.data), self.asks)


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
    headers = key_headers(config.api_key_env)
    if headers is None:
        raise JudgeError(
            f"judge {config.name}: api_key_env ({config.api_key_env}) is not set in the environment: export it"
        )
    return headers


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
