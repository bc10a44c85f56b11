"""The requests that a vLLM server is asked, and what its refusals mean."""

import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar

from urllib3.exceptions import HTTPError

from training.config.generator import VllmGenerator
from training.errors import GeneratorError
from training.evaluation.http_client import HttpClient, Reply, key_headers, listed_models
from training.models.batching import TokenIds

Asked = TypeVar("Asked")
Result = TypeVar("Result")

START = "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve BASE --enable-lora --max-lora-rank RANK"
"""How a server that suits us is started."""
_PASSING = (429, 502, 503, 504)
"""A status 500 is none of them: vLLM's own are lasting, such as an adapter that it cannot load."""

log = logging.getLogger(__name__)


class VllmServer:
    """One server, asked with token ids, so that neither its tokenizer nor its chat template plays a part."""

    def __init__(self, config: VllmGenerator) -> None:
        self.config = config
        self.where = f"evaluation.generator.endpoint ({config.endpoint})"
        """What the sentences of errors begin with."""
        self._client = self._reached_by(config)
        self._leaving = self._reached_by(config.model_copy(update={"retries": min(config.retries, 1)}))

    @staticmethod
    def _reached_by(config: VllmGenerator) -> HttpClient:
        return HttpClient(
            config.endpoint,
            timeout=config.timeout,
            retries=config.retries,
            backoff=config.backoff,
            concurrency=config.concurrency,
            passes=_PASSING.__contains__,
        )

    def models(self) -> list[dict[str, Any]]:
        """What the server lists, an entry per name; adapters have a ``parent``.

        Raises:
            GeneratorError: it cannot be reached, refuses access or is none of vLLM's kind.
        """
        try:
            response = self._client.get("/models", self._headers())
        except HTTPError as error:
            raise self._unreachable(error) from error
        if response.status != 200:
            raise self._refused(response, "does not list its models")
        listed = listed_models(response)
        if not listed:
            raise GeneratorError(
                f"{self.where} lists no models as a vLLM server does: check the address, which ends in /v1"
            )
        return listed

    def base(self) -> dict[str, Any]:
        """The entry of the base model.

        Raises:
            GeneratorError: it is not served.
        """
        bases = [entry for entry in self.models() if not entry.get("parent")]
        found = next((entry for entry in bases if self.config.model in (None, entry["id"])), None)
        if found is None:
            there = ", ".join(entry["id"] for entry in bases) or "none"
            raise GeneratorError(
                f"evaluation.generator.model ({self.config.model}) is not served at {self.config.endpoint}, which has "
                f"{there}: correct the name, or start the server with --served-model-name {self.config.model}"
            )
        return found

    def check_loading(self) -> None:
        """Refuse a server that loads no adapters while it runs; nothing is loaded.

        Raises:
            GeneratorError: it has no such route.
        """
        response = self._post("/load_lora_adapter", {"lora_name": "", "lora_path": ""})
        if response.status in (404, 405):
            raise self._no_loading()

    def load(self, name: str, folder: Path, rank: int) -> None:
        """Load an adapter under a name of its own.

        Args:
            name: that nothing else at the server has.
            folder: the adapter in PEFT's format.
            rank: of the adapter; only told.

        Raises:
            GeneratorError: it cannot be loaded; the sentence says by which of the server's options it could.
        """
        response = self._post("/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
        said = message_of(response)
        if response.status == 200 or "already been loaded" in said:  # by an attempt whose answer was lost
            return
        if (response.status in (404, 405) and not said) or "not enabled" in said.lower():
            raise self._no_loading()
        if "max_lora_rank" in said:
            raise GeneratorError(
                f"{self.where} takes no adapter of trial.tuning.rank {rank} ({said}): start the server with "
                f"--max-lora-rank {rank} or more"
            )
        if "adapter_config.json" in said or "No adapter found" in said or "No such file" in said:
            raise GeneratorError(
                f"{self.where} does not see the adapter at {folder} ({said}): name a folder in "
                "evaluation.generator.adapter_dir that workers and server have under the same path"
            )
        raise self._refused(response, "does not load an adapter")

    def unload(self, name: str) -> None:
        """Take an adapter from the server; what goes wrong is logged, since the answers are there by now."""
        try:
            response = self._post("/unload_lora_adapter", {"lora_name": name}, self._leaving)
        except GeneratorError as error:
            log.warning("the adapter %s stays loaded: %s", name, error)
            return
        if response.status not in (200, 404):
            log.warning("the adapter %s stays loaded at %s: %s", name, self.config.endpoint, message_of(response))

    def answers(self, model: str, prompts: TokenIds, max_new_tokens: int, end_ids: frozenset[int]) -> list[list[int]]:
        """Greedy answers as token ids, the ending token included where one was reached, in the order of ``prompts``.

        Raises:
            GeneratorError: an answer is not to be had.
        """
        options = {"max_tokens": max_new_tokens, "stop_token_ids": sorted(end_ids), "return_token_ids": True}

        def answer(prompt: Sequence[int]) -> list[int]:
            choice = self._choice(model, prompt, options)
            found = choice.get("token_ids")
            if not isinstance(found, list) or not found or not all(map(_is_token, found)):
                raise GeneratorError(
                    f"{self.where} answers without token ids (return_token_ids): use vLLM 0.10.2 or later"
                )
            return list(found)

        return self._all(answer, prompts)

    def log_probabilities(self, model: str, texts: TokenIds, starts: Sequence[int]) -> list[list[float]]:
        """The log-probability of every token of each text from its start on, given the tokens before it; in nats.

        Raises:
            GeneratorError: they are not to be had.
        """

        def one(asked: tuple[Sequence[int], int]) -> list[float]:
            ids, start = asked
            listed = self._choice(model, ids, {"max_tokens": 1, "prompt_logprobs": 1}).get("prompt_logprobs")
            try:
                pairs = zip(ids[start:], listed[start:], strict=True)  # type: ignore[index]
                return [float(entry[str(token)]["logprob"]) for token, entry in pairs]
            except (TypeError, ValueError, KeyError) as error:
                raise GeneratorError(
                    f"{self.where} gives no log-probabilities of a prompt (prompt_logprobs): use a vLLM server"
                ) from error

        return self._all(one, list(zip(texts, starts, strict=True)))

    def _all(self, ask: Callable[[Asked], Result], asked: Sequence[Asked]) -> list[Result]:
        """``ask`` of each, side by side; once one has failed for good, those that have not begun are left out."""
        with ThreadPoolExecutor(self.config.concurrency) as workers:
            futures = [workers.submit(ask, one) for one in asked]
            for future in wait(futures, return_when=FIRST_EXCEPTION).not_done:
                future.cancel()
        for future in futures:
            if not future.cancelled() and (fault := future.exception()) is not None:
                raise fault
        return [future.result() for future in futures]

    def _choice(self, model: str, prompt: Sequence[int], options: dict[str, Any]) -> dict[str, Any]:
        # The server fills what a request leaves out from the model's generation_config.json, penalties too.
        plain = {"temperature": 0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
        response = self._post("/completions", {"model": model, "prompt": list(prompt), **plain, **options})
        if response.status != 200:
            raise self._refused(response, f"does not answer as {model}")
        try:
            return dict(json.loads(response.data)["choices"][0])
        except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
            raise GeneratorError(
                f"{self.where} answers in another form than vLLM's: check the address, which ends in /v1"
            ) from error

    def _post(self, path: str, body: dict[str, Any], client: HttpClient | None = None) -> Reply:
        try:
            return (client or self._client).post(path, body, self._headers())
        except HTTPError as error:
            raise self._unreachable(error) from error

    def _headers(self) -> dict[str, str]:
        headers = key_headers(self.config.api_key_env)
        if headers is None:
            raise GeneratorError(
                f"evaluation.generator.api_key_env ({self.config.api_key_env}) is not set in the environment: export it"
            )
        return headers

    def _unreachable(self, error: HTTPError) -> GeneratorError:
        return GeneratorError(
            f"{self.where} does not answer ({type(error).__name__}): start the server, correct the address, or raise "
            f"evaluation.generator.timeout ({self.config.timeout:g} s)"
        )

    def _no_loading(self) -> GeneratorError:
        return GeneratorError(f"{self.where} loads no adapters while it runs: start it with {START}")

    def _refused(self, response: Reply, what: str) -> GeneratorError:
        said = message_of(response) or "no reason"
        if response.status in (401, 403):
            variable = self.config.api_key_env
            fix = f"check the key in {variable}" if variable else "name the key in evaluation.generator.api_key_env"
        elif any(part in said.lower() for part in ("max_loras", "max_cpu_loras", "lora slots")):
            fix = "raise --max-loras and --max-cpu-loras of the server, by one for each trial at a time"
        elif "does not exist" in said:
            fix = "it was started anew, and has lost what was loaded: go on with procon resume"
        else:
            fix = "look into the server's log"
        return GeneratorError(f"{self.where} {what} (status {response.status}: {said}): {fix}")


def _is_token(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31


def message_of(response: Reply) -> str:
    """What the server says is wrong, of either form that vLLM has had; empty where it says nothing of that form."""
    try:
        body = json.loads(response.data)
        error = body.get("error", body)
        said = error if isinstance(error, str) else error["message"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    return " ".join(str(said).split())[:300]
