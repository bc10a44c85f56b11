"""Whether every node of a cluster sees the sweep's folder and the files it reads, at the paths the driver knows.

Of a sweep in a bucket: whether every node reads and writes there.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.errors import ClusterError, OutputError
from sweeps.schema.spec import SweepSpec
from training.errors import StorageError
from training.storage.address import is_address
from training.storage.bucket import Bucket

ANSWER_SECONDS = 300.0
"""How long a node may take to answer: starting the process that looks takes a second, and minutes on a busy one."""
BUCKET_SECONDS = 20.0
"""For which a node tries a bucket that does not answer."""
TOKEN = ".procon-"
FIX = "it has to be on storage that all nodes mount at this path"


@dataclass(frozen=True)
class Sight:
    """What a machine has to see, to be asked where it is; it travels."""

    output: str
    """The sweep's folder, as it was named, or its address."""
    token: str
    """A file, or an object, of the driver's, whose content is its own name."""
    inputs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Local files and folders that trials read, by the field that names them."""

    def fault(self, node: str) -> str | None:
        """What this machine, called ``node``, does not see, in a sentence."""
        return _sentence(unseen(self.token, _name(self.token), self.inputs), self.token, self.output, node)


class SharedStorage:
    """Asks each node, once, whether it reads what the driver wrote.

    Args:
        output: the sweep's folder, which need not be there yet: then the one it will be made in is asked for; or its
            address.
        inputs: local files and folders that trials read, by the field that names them.
        keys: variables of the environment that nodes need to use the bucket.
    """

    def __init__(
        self, output: Path | str, inputs: Mapping[str, Sequence[str]], keys: Mapping[str, str] | None = None
    ) -> None:
        self._output = output
        self._inputs = inputs
        self._keys = keys or {}
        self._asked: set[str] = set()
        self._waiting: dict[Any, tuple[str, str, str]] = {}
        """By the answer to come: the node's id and name, and its token."""
        self._lasting: str | None = None
        self.blind: set[str] = set()
        """Ids of nodes that do not see it all."""

    def check(self) -> None:
        """Ask all nodes there are, and wait for their answers.

        Raises:
            ClusterError: it names a node, what it does not see, and what to do.
            OutputError: the driver itself cannot write.
        """
        deadline = time.monotonic() + ANSWER_SECONDS
        self._ask()
        while self._waiting:
            faults = self._answers(max(0.0, deadline - time.monotonic()))
            fault = next(iter(faults.values()), None)
            if fault is None and self._waiting and time.monotonic() > deadline:
                silent = ", ".join(sorted(name for _, name, _ in self._waiting.values()))
                fault = f"no answer within {ANSWER_SECONDS:g} s from {silent}: see what it does, or take it out of Ray"
            if fault is not None:
                self.close()
                raise ClusterError(fault)

    def look(self) -> dict[str, str]:
        """What is wrong with nodes that have joined since, in a sentence each, by id; returns at once."""
        with contextlib.suppress(Exception):  # a full disk, or a Ray that is gone, which others tell
            self._ask()
            return self._answers(0.0)
        return {}

    def sight(self) -> Sight:
        """What workers ask themselves before they take a trial: one may start on a node before this has asked it.

        To be called once the folder is there; it then holds a file until :meth:`close`.

        Raises:
            OutputError: the driver itself cannot write.
        """
        self._lasting = _write_token(self._output)
        return Sight(str(self._output), self._lasting, self._inputs)

    def close(self) -> None:
        """Take away what was written."""
        for _, _, token in self._waiting.values():
            _remove(token)
        self._waiting.clear()
        if self._lasting is not None:
            _remove(self._lasting)

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
            name = node_name(node["NodeManagerAddress"], node["NodeManagerHostname"])
            self._waiting[task.remote(token, _name(token), self._inputs, self._keys)] = (node["NodeID"], name, token)

    def _answers(self, seconds: float) -> dict[str, str]:
        import ray

        faults: dict[str, str] = {}
        ready: list[Any] = []
        if self._waiting:
            ready, _ = ray.wait(list(self._waiting), num_returns=len(self._waiting), timeout=min(seconds, 0.5))
        for answer in ready:
            node, name, token = self._waiting.pop(answer)
            _remove(token)
            try:
                fault = _sentence(ray.get(answer), token, str(self._output), name)
            except ray.exceptions.RayTaskError as error:
                last = str(error).strip().splitlines()[-1]
                fault = f"{name} cannot run what this machine runs ({last}): it needs the same version of procon-sweeps"
            except ray.exceptions.RayError:  # the node has gone, and what it would have seen matters no more
                continue
            if fault is not None:
                faults[node] = fault
                self.blind.add(node)
        return faults


def node_name(address: str, host: str) -> str:
    """What a node is called in sentences."""
    return f"node {address} ({host})"


def _sentence(found: str | None, token: str, output: str, node: str) -> str | None:
    if found is not None and is_address(output) and found.startswith(token):
        return f"--out ({output}) cannot be used from {node}: {found.removeprefix(token)}"
    if found == token:
        return f"--out ({output}) cannot be seen from {node}: {FIX}"
    if found is not None:
        return f"{found} cannot be seen from {node}: {FIX}, or --set data_root=FOLDER names one that is"
    return None


def local_inputs(spec: SweepSpec) -> dict[str, list[str]]:
    """Files and folders that trials of ``spec`` read, by the field that names them; what is on the Hub is none."""
    named = {f"models.{index}.path": [model.path] for index, model in enumerate(spec.models)}
    for name, source in spec.data.sources.items():
        sides = [source.path, *(side.path for side in (source.train, source.test) if side is not None)]
        named[f"data.{name}"] = [path for side in sides for path in ([side] if isinstance(side, str) else side or [])]
    return {name: [path for path in paths if os.path.isabs(path)] for name, paths in named.items()}


def unseen(
    token: str, content: str, inputs: Mapping[str, Sequence[str]], keys: Mapping[str, str] | None = None
) -> str | None:
    """The first that this machine does not see, ``token`` or an input with the field that names it; else None.

    Args:
        token: a file, or an object by its address: behind one that this machine cannot read, or beside which it cannot
            write, stands why.
        content: what it holds.
        inputs: local files and folders by the field that names them.
        keys: variables of the environment that this machine needs to use the bucket.
    """
    if is_address(token):
        os.environ.update(keys or {})
        fault = _fault_of_bucket(token, content)
        if fault is not None:
            return f"{token}{fault}"
    elif not _holds(token, content):
        return str(token)
    named = ((name, path) for name, paths in inputs.items() for path in paths)
    return next((f"{name} ({path})" for name, path in named if not os.path.exists(path)), None)


def _holds(token: str, content: str) -> bool:
    try:
        return Path(token).read_text(encoding="utf-8") == content
    except OSError:
        return False


def _fault_of_bucket(token: str, content: str) -> str | None:
    """Why this machine cannot use the bucket of ``token``, in a sentence."""
    address, _, name = token.rpartition("/")
    try:
        bucket = Bucket(address, BUCKET_SECONDS)
        found = bucket.read(name)
        if found is None or found.data.decode() != content:
            return "it reads another store than the driver: see AWS_ENDPOINT_URL there"
        own = f"{TOKEN}{secrets.token_hex(8)}"
        bucket.create(own, b"")
        bucket.remove([own])
    except StorageError as error:
        return str(error)
    return None


def _name(token: str) -> str:
    return token.rpartition("/")[2]


def _remove(token: str) -> None:
    if is_address(token):
        with contextlib.suppress(StorageError):
            Bucket(token.rpartition("/")[0], BUCKET_SECONDS).remove([_name(token)])
    else:
        Path(token).unlink(missing_ok=True)


def _write_token(output: Path | str) -> str:
    """A file with its own name as content, in the sweep's folder, or the nearest one there is above it; or an object.

    Raises:
        OutputError: the folder cannot be written.
        StorageError: the bucket cannot be.
    """
    if isinstance(output, str):
        name = f"{TOKEN}{secrets.token_hex(8)}"
        Bucket(output, BUCKET_SECONDS).write(name, name.encode())
        return f"{output}/{name}"
    folder = next(folder for folder in (output, *output.parents) if folder.is_dir())
    token = folder / f"{TOKEN}{secrets.token_hex(8)}"
    try:
        token.write_text(token.name, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"--out ({output}) cannot be written: {error}; choose another folder") from error
    return str(token)
