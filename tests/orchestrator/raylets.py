"""A Ray of several raylets on this machine, each of which stands for a node."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

HEALTH = {"health_check_period_ms": 1000, "health_check_timeout_ms": 5000, "health_check_failure_threshold": 3}
SMALL = {"object_store_memory": 80 * 2**20, "min_worker_port": 0, "max_worker_port": 0}


@contextlib.contextmanager
def raylets(
    environment: Mapping[str, str] = {}, **nodes: Mapping[str, float]
) -> Iterator[tuple[Cluster, dict[str, Any]]]:
    """A head without CPUs, and nodes with the given resources; the cluster and its nodes by their names."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"RAY_AUTH_MODE": "disabled", **environment}.items():
            patch.setenv(name, value)
        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "include_dashboard": True,
                "_system_config": HEALTH,
                "dashboard_port": 0,
                **SMALL,
            },
        )
        try:
            yield cluster, {name: add(cluster, resources) for name, resources in nodes.items()}
        finally:
            cluster.shutdown()


def add(cluster: Cluster, resources: Mapping[str, float]) -> Any:
    """Another node."""
    return cluster.add_node(num_cpus=resources.get("CPU", 0), num_gpus=0, **SMALL)


def drain(cluster: Cluster, node: Any, seconds: int) -> None:
    """Announce the end of a node, as whoever hears of a spot machine's does."""
    command = [str(Path(sys.executable).with_name("ray")), "drain-node", "--address", cluster.address]
    command += ["--node-id", node.node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "reclaimed"]
    subprocess.run([*command, "--deadline-remaining-seconds", str(seconds)], check=True, timeout=120)
