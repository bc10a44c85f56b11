"""A real HTTP server that speaks the part of vLLM's protocol that we use, over a tiny transformers model.

Answers come from transformers' own ``generate``, one prompt at a time, and adapters are loaded by PEFT from the path
that a request names. Routes, bodies and messages are vLLM's.
"""

import copy
import json
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import torch
from local_server import LocalServer
from peft import PeftConfig, PeftModel

Status = tuple[int, dict[str, Any]]


def fault(status: int, message: str) -> Status:
    """An error as vLLM words one."""
    return status, {"error": {"message": message, "type": "BadRequestError", "param": None, "code": status}}


class VllmLike(LocalServer):
    """Serves ``model`` as ``base``; use it in a ``with`` statement. The switches may be turned at any time."""

    def __init__(self, model: torch.nn.Module, dtype: torch.dtype = torch.float32) -> None:
        self.base = copy.deepcopy(model).to(dtype).eval()
        self.adapters: dict[str, Path] = {}
        """Adapters that are loaded, and where they were loaded from."""
        self.asked: list[tuple[str, dict[str, Any]]] = []
        """Path and body of every request."""
        self.headers: dict[str, str] = {}
        """Of the last request."""
        self.script: deque[Status | None] = deque()
        """For the next requests, one each; None hangs up."""
        self.delay = 0.0
        """Seconds before every answer to a POST."""
        self.runtime_loading, self.enable_lora = True, True
        self.max_lora_rank, self.max_adapters, self.max_model_len = 64, 8, 512
        self.instead: Path | None = None
        """What is loaded in place of whatever is asked for."""
        self.ignores_adapters = False
        self.token_ids = True
        self.key: str | None = None
        self._lock = threading.Lock()
        self._adapted: dict[str, PeftModel] = {}

    def handler(self) -> type[BaseHTTPRequestHandler]:
        return _handler(self)

    def settings(self, **changes: Any) -> dict[str, Any]:
        """The configuration of a generator that asks this server."""
        quick = {"timeout": 120.0, "retries": 2, "backoff": 0.001, "concurrency": 4}
        return {"type": "vllm", "endpoint": self.url, **quick, **changes}

    def paths(self) -> list[str]:
        """What was asked, in order."""
        return [path.removeprefix("/v1/") for path, _ in self.asked]

    def answer(self, path: str, body: dict[str, Any]) -> Status:
        """What vLLM would answer to a POST."""
        routes = {"/v1/completions": self._complete}
        if self.runtime_loading:
            routes |= {"/v1/load_lora_adapter": self._load, "/v1/unload_lora_adapter": self._unload}
        if path not in routes:
            return 404, {"detail": "Not Found"}
        with self._lock:
            return routes[path](body)

    def models(self) -> dict[str, Any]:
        """What vLLM lists."""
        cards = [{"id": "base", "root": "base", "parent": None, "max_model_len": self.max_model_len}]
        cards += [{"id": name, "root": str(path), "parent": "base"} for name, path in self.adapters.items()]
        return {"object": "list", "data": cards}

    def _load(self, body: dict[str, Any]) -> Status:
        name, path = body["lora_name"], body["lora_path"]
        if not name or not path:
            return fault(400, "Both 'lora_name' and 'lora_path' must be provided.")
        if name in self.adapters:
            return fault(400, f"The lora adapter '{name}' has already been loaded.")
        if not self.enable_lora:
            return fault(500, "Call to add_lora method failed: LoRA is not enabled. Use --enable-lora to enable LoRA.")
        if not (Path(path) / "adapter_config.json").is_file():
            return fault(404, f"Loading lora {name} failed: No adapter found for {path}")
        rank = PeftConfig.from_pretrained(path).r
        if rank > self.max_lora_rank:
            return fault(500, f"LoRA rank {rank} is greater than max_lora_rank {self.max_lora_rank}.")
        if len(self.adapters) >= self.max_adapters:
            return fault(400, "No free lora slots")
        loaded = PeftModel.from_pretrained(copy.deepcopy(self.base), self.instead or path)
        self._adapted[name] = loaded.to(self.base.dtype).eval()
        self.adapters[name] = Path(path)
        return 200, {"text": f"Success: LoRA adapter '{name}' added successfully."}

    def _unload(self, body: dict[str, Any]) -> Status:
        if body["lora_name"] not in self.adapters:
            return fault(404, f"The lora adapter '{body['lora_name']}' cannot be found.")
        del self.adapters[body["lora_name"]], self._adapted[body["lora_name"]]
        return 200, {"text": "Success"}

    def _complete(self, body: dict[str, Any]) -> Status:
        if body["model"] != "base" and body["model"] not in self.adapters:
            return fault(404, f"The model `{body['model']}` does not exist.")
        if len(body["prompt"]) + body["max_tokens"] > self.max_model_len:
            return fault(400, f"This model's maximum context length is {self.max_model_len} tokens.")
        plain = body["model"] == "base" or self.ignores_adapters
        model = self.base if plain else self._adapted[body["model"]]
        ids = torch.tensor([body["prompt"]])
        ends = sorted({2, *body.get("stop_token_ids", [])})
        with torch.no_grad():
            choice: dict[str, Any] = {"index": 0, "text": "", "stop_reason": None}
            if body.get("return_token_ids") and self.token_ids:
                whole = model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=body["max_tokens"],
                    do_sample=body["temperature"] != 0,
                    eos_token_id=ends,
                    pad_token_id=0,
                    repetition_penalty=body.get("repetition_penalty", 1.5),  # as if generation_config.json had one
                )[0].tolist()
                written = whole[len(body["prompt"]) :]
                choice["finish_reason"] = "stop" if written[-1] in ends else "length"
                choice |= {"token_ids": written, "prompt_token_ids": body["prompt"]}
            if body.get("prompt_logprobs") is not None:
                logs = model(input_ids=ids).logits[0].float().log_softmax(dim=-1)
                tokens = zip(body["prompt"][1:], logs, strict=False)
                found = [{str(token): {"logprob": float(row[token]), "rank": 1}} for token, row in tokens]
                choice["prompt_logprobs"] = [None, *found]
        return 200, {"id": "cmpl-0", "object": "text_completion", "model": body["model"], "choices": [choice]}


def _handler(server: VllmLike) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            server.headers = dict(self.headers)
            self._send(200 if self.path == "/v1/models" else 404, server.models())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.asked.append((self.path, body))
            server.headers = dict(self.headers)
            time.sleep(server.delay)
            wanted: Status | None = server.script.popleft() if server.script else (0, {})
            if wanted is None:
                self.close_connection = True
                return
            self._send(*(wanted if wanted[0] else server.answer(self.path, body)))

        def _send(self, status: int, body: dict[str, Any]) -> None:
            if server.key is not None and server.headers.get("Authorization") != f"Bearer {server.key}":
                status, body = 401, {"error": "Unauthorized"}
            data = json.dumps(body).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except OSError:  # the client waited no longer
                self.close_connection = True

    return Handler
