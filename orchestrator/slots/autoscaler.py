"""Nodes that are not there yet: what the autoscaler of the joined cluster may bring."""

import json
import os
from pathlib import Path
from typing import Any

import psutil

from sweeps.schema.yaml_text import YamlFault, read_yaml

LAUNCHED = "~/ray_bootstrap_config.yaml"
"""Where the cluster launcher leaves, on the head, what it made the cluster by."""
KUBERAY = "RAY_USAGE_STATS_KUBERAY_IN_USE"
"""KubeRay says so to every pod; its autoscaler runs in a container of its own, which cannot be looked into."""


def nodes_to_come(head: str) -> list[dict[str, float]] | None:
    """Resources of all workers that the autoscaler runs at most, those that are there now included.

    Args:
        head: ``host:port`` of Ray's head.

    Returns:
        One entry a node, by the names of Ray's resources; none where it is not known what they have. None where no
        autoscaler is there.
    """
    config = _config(head)
    if config is not None:
        return _most(config)
    return [] if KUBERAY in os.environ else None


def _config(head: str) -> dict[str, Any] | None:
    """What the autoscaler of this machine goes by; None where there is none."""
    for path in (*_of_monitors(head), Path(LAUNCHED).expanduser()):
        try:
            text = path.read_text(encoding="utf-8")
            found = json.loads(text) if path.suffix == ".json" else read_yaml(text)
        except (OSError, ValueError, YamlFault):
            continue
        if isinstance(found, dict):
            return found
    return None


def _of_monitors(head: str) -> list[Path]:
    """The file that Ray's monitor of the head at ``head`` was given, where the head is this machine."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        given = dict(word.split("=", 1) for word in process.info["cmdline"] or () if "=" in word)
        if given.get("--gcs-address", "").rpartition(":")[2] == head.rpartition(":")[2]:
            named = given.get("--autoscaling-config")
            found += [Path(named).expanduser()] if named else []
    return found


def _most(config: dict[str, Any]) -> list[dict[str, float]]:
    """A node of each type after the other, the richest first, as many of each and in all as the autoscaler may run."""
    types = config.get("available_node_types") or {}
    found: list[dict[str, float]] = []
    for name, one in types.items():
        resources = {key: float(value) for key, value in (one.get("resources") or {}).items() if _is_number(value)}
        if name != config.get("head_node_type") and resources:  # machines on premise are not described
            found += [resources] * int(one.get("max_workers", config.get("max_workers", 0)) or 0)
    found.sort(key=lambda node: (node.get("GPU", 0.0), node.get("CPU", 0.0)), reverse=True)
    return found[: int(config.get("max_workers", len(found)))]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
