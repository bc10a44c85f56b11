"""Whether judges can be loaded and reached, found out before anything is trained and without loading weights."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from urllib3.exceptions import HTTPError

from training.config.judges import ClassifierJudge, EndpointJudge, GenerativeJudge, JudgeConfig, PluginJudge
from training.errors import JudgeError
from training.evaluation.http_client import HttpClient, Reply, listed_models
from training.evaluation.judges.base import Exchange
from training.evaluation.judges.endpoint import body_of, headers_of

_HEADS = {"classifier": ("ForSequenceClassification",), "generative": ("ForCausalLM", "ForConditionalGeneration")}
"""How the architecture of a model of each type ends."""
_PATIENCE = 10.0
"""Seconds that the probe of an endpoint waits at most."""


def check_judges(configs: Sequence[JudgeConfig]) -> None:
    """Refuse the first judge that could not be asked.

    Of a local model its ``config.json`` is read (of a Hub model fetched); an endpoint is asked for its models.

    Raises:
        JudgeError: naming the judge, the field, its value and what to do.
    """
    for config in configs:
        if isinstance(config, ClassifierJudge | GenerativeJudge):
            _check_model(config)
        elif isinstance(config, EndpointJudge):
            _check_endpoint(config)
        elif isinstance(config, PluginJudge):
            config.check()


def _check_model(config: ClassifierJudge | GenerativeJudge) -> None:
    settings = _model_settings(config)
    named = [str(name) for name in settings.get("architectures") or []]
    heads = _HEADS[config.type]
    if not any(name.endswith(heads) for name in named):
        raise JudgeError(
            f"judge {config.name}: model ({config.model}) is a {', '.join(named) or 'model of no known head'}, but "
            f"type {config.type} needs a …{heads[0]}: name another model, or change type"
        )
    if isinstance(config, ClassifierJudge) and settings.get("id2label"):
        from training.evaluation.judges.classifier import check_labels  # imports torch

        check_labels(config, [str(label) for label in settings["id2label"].values()])


def _model_settings(config: ClassifierJudge | GenerativeJudge) -> dict[str, Any]:
    path = Path(config.model).expanduser()
    if path.is_dir() or config.model.startswith((".", "/", "~")):
        file = path / "config.json"
        if not file.is_file():
            raise JudgeError(
                f"judge {config.name}: model ({config.model}) has no config.json: "
                "name the directory of a saved transformers model, or a Hub id"
            )
    else:
        file = _from_hub(config)
    try:
        settings = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise JudgeError(
            f"judge {config.name}: model ({config.model}) has a config.json that cannot be read ({error}): save it anew"
        ) from error
    return dict(settings)


def _from_hub(config: ClassifierJudge | GenerativeJudge) -> Path:
    from huggingface_hub import hf_hub_download  # slow to import

    try:
        return Path(hf_hub_download(config.model, "config.json"))
    except Exception as error:  # the Hub's, and of whatever HTTP library it uses in this release
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise JudgeError(
            f"judge {config.name}: model ({config.model}) is neither a directory nor found on the Hub ({reason}): "
            "check its spelling, log in where it is gated, or download it first"
        ) from error


def _check_endpoint(config: EndpointJudge) -> None:
    headers = headers_of(config)
    patience = min(config.timeout, _PATIENCE)
    client = HttpClient(
        config.url, timeout=patience, retries=0, backoff=0.0, concurrency=1, passes=lambda _status: False
    )
    try:
        response = client.get("/models", headers)
        if response.status in (404, 405, 501):  # not every server lists its models
            path = "/chat/completions" if config.api == "chat" else "/completions"
            body = body_of(config, Exchange("Hello", "Hello"))
            response = client.post(path, body, headers)
        elif response.status == 200:
            _check_served(config, response)
    except HTTPError as error:
        raise JudgeError(
            f"judge {config.name}: url ({config.url}) does not answer ({type(error).__name__}): "
            "start the server, or correct the address"
        ) from error
    if response.status in (401, 403):
        raise JudgeError(
            f"judge {config.name}: url ({config.url}) refuses access (status {response.status}): "
            f"{f'check the key in {config.api_key_env}' if config.api_key_env else 'name the key in api_key_env'}"
        )
    if response.status != 200 and response.status != 429:  # a busy server is up
        raise JudgeError(
            f"judge {config.name}: url ({config.url}) answers with status {response.status}: "
            "check the address, which ends in /v1 with most servers, and the server's log"
        )


def _check_served(config: EndpointJudge, response: Reply) -> None:
    listed = listed_models(response)
    if listed is None:
        raise JudgeError(
            f"judge {config.name}: url ({config.url}) lists no models as an OpenAI-compatible server does: "
            "check the address, which ends in /v1 with most servers"
        )
    served = [entry["id"] for entry in listed]
    if config.model not in served:
        raise JudgeError(
            f"judge {config.name}: model ({config.model}) is not served at {config.url}: "
            f"it has {', '.join(served) or 'none'}"
        )
