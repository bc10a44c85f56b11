"""Whether every node of a cluster sees the sweep's folder and the files it reads, at the paths the driver knows."""

import contextlib
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import ClusterError, OutputError
from sweeps.schema.spec import SweepSpec

ANSWER_SECONDS = 300.0
"""How long a node may take to answer: starting the process that looks takes a second, and minutes on a busy one."""
FIX = "it has to be on storage that all nodes mount at this path"


class SharedStorage:
    """Asks each node, once, whether it reads what the driver wrote.

    Args:
        output: the sweep's folder, which need not be there yet: then the one it will be made in is asked for.
        inputs: local files and folders that trials read, by the field that names them.
    """

    def __init__(self, output: Path, inputs: Mapping[str, Sequence[str]]) -> None:
        self._output = output
        self._inputs = inputs
        self._asked: set[str] = set()
        self._waiting: dict[Any, tuple[str, Path]] = {}

    def check(self) -> None:
        """Ask all nodes there are, and wait for their answers.

        Raises:
            ClusterError: it names a node, what it does not see, and what to do.
            OutputError: the driver itself cannot write.
        """
        deadline = time.monotonic() + ANSWER_SECONDS
        self._ask()
        while self._waiting:
            fault = self._answers(max(0.0, deadline - time.monotonic()))
            if fault is None and self._waiting and time.monotonic() > deadline:
                silent = ", ".join(sorted(name for name, _ in self._waiting.values()))
                fault = f"no answer within {ANSWER_SECONDS:g} s from {silent}: see what it does, or take it out of Ray"
            if fault is not None:
                self.close()
                raise ClusterError(fault)

    def look(self) -> str | None:
        """What is wrong with a node that has joined since, in a sentence; returns at once."""
        with contextlib.suppress(Exception):  # a full disk, or a Ray that is gone, which others tell
            self._ask()
            return self._answers(0.0)
        return None

    def close(self) -> None:
        """Take away what was written for nodes that have not answered."""
        for _, token in self._waiting.values():
            token.unlink(missing_ok=True)
        self._waiting.clear()

    def _ask(self) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        own = ray.get_runtime_context().get_node_id()
        for node in ray.nodes():
            if not node["Alive"] or node["NodeID"] in (own, *self._asked):
                continue
            token = _write_token(self._output)
            self._asked.add(node["NodeID"])
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            task = ray.remote(num_cpus=0, max_retries=0)(unseen).options(scheduling_strategy=there)
            name = f"node {node['NodeManagerAddress']} ({node['NodeManagerHostname']})"
            self._waiting[task.remote(str(token), token.name, self._inputs)] = (name, token)

    def _answers(self, seconds: float) -> str | None:
        import ray

        ready, _ = ray.wait(list(self._waiting), timeout=seconds) if self._waiting else ([], [])
        for answer in ready:
            name, token = self._waiting.pop(answer)
            token.unlink(missing_ok=True)
            try:
                found = ray.get(answer)
            except ray.exceptions.RayTaskError as error:
                last = str(error).strip().splitlines()[-1]
                return f"{name} cannot run what this machine runs ({last}): it needs the same version of procon-sweeps"
            except ray.exceptions.RayError:  # the node has gone, and what it would have seen matters no more
                continue
            if found == str(token):
                return f"--out ({self._output}) cannot be seen from {name}: {FIX}"
            if found is not None:
                return f"{found} cannot be seen from {name}: {FIX}, or --set data_root=FOLDER names one that is"
        return None


def local_inputs(spec: SweepSpec) -> dict[str, list[str]]:
    """Files and folders that trials of ``spec`` read, by the field that names them; what is on the Hub is none."""
    named = {f"models.{index}.path": [model.path] for index, model in enumerate(spec.models)}
    for field, source in spec.data.sources.items():
        sides = [source.path, *(side.path for side in (source.train, source.test) if side is not None)]
        named[f"data.{field}"] = [path for side in sides for path in ([side] if isinstance(side, str) else side or [])]
    return {field: [path for path in paths if os.path.isabs(path)] for field, paths in named.items()}


def unseen(token: str, content: str, inputs: Mapping[str, Sequence[str]]) -> str | None:
    """The first that this machine does not see, ``token`` or an input with the field that names it; else None."""
    try:
        if Path(token).read_text(encoding="utf-8") != content:
            return token
    except OSError:
        return token
    named = ((field, path) for field, paths in inputs.items() for path in paths)
    return next((f"{field} ({path})" for field, path in named if not os.path.exists(path)), None)


def _write_token(output: Path) -> Path:
    """A file with its own name as content, in the sweep's folder, or the nearest one there is above it."""
    folder = next(folder for folder in (output, *output.parents) if folder.is_dir())
    token = folder / f".procon-{secrets.token_hex(8)}"
    try:
        token.write_text(token.name, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"--out ({output}) cannot be written: {error}; choose another folder") from error
    return token
