"""A Ray whose autoscaler brings nodes on demand and takes idle ones away, all of them on this machine.

``ray.cluster_utils.AutoscalingCluster`` does the same, but begins and ends with ``ray stop --force``, which ends every
other Ray of the machine, and reads a file that Ray's wheel leaves out. So the head is started here, with Ray's own
provider of such nodes.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

START_SECONDS = 120.0
HEAD = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"
"""What Ray's provider calls the head."""
OBJECT_STORE_BYTES = 80 * 2**20


@dataclass(frozen=True)
class GrowingCluster:
    """A head without CPUs, and what it may bring."""

    process: subprocess.Popen[bytes]
    address: str
    folder: Path

    @property
    def join(self) -> tuple[str, str]:
        """What ``procon run`` takes to join it."""
        return "--address", self.address

    def stock(self, nodes: int) -> None:
        """So many nodes can be had at a time, whatever is asked for."""
        (self.folder / "stock").write_text(str(nodes))

    def said(self) -> str:
        """What the autoscaler wrote last."""
        lines = (self.folder / "session_latest/logs/monitor.log").read_text().splitlines()
        return "\n".join([line for line in lines if "legacy field" not in line][-40:])

    def raylets(self) -> list[psutil.Process]:
        """The processes that make the nodes which can be had, the eldest first; the head's is not among them."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        found = sorted((child for child in children if child.name() == "raylet"), key=psutil.Process.create_time)
        return [one for one in found[1:] if one.status() != psutil.STATUS_ZOMBIE]


@contextlib.contextmanager
def growing_cluster(
    node_types: Mapping[str, Mapping[str, Any]], idle_seconds: float = 20.0, environment: Mapping[str, str] = {}
) -> Iterator[GrowingCluster]:
    """Start one.

    Args:
        node_types: ``resources`` and ``max_workers`` of each kind of node.
        idle_seconds: after which an idle node is taken away.
        environment: of all its processes, besides this one's.
    """
    folder = Path(tempfile.mkdtemp(prefix="g", dir="/tmp"))  # the names of Ray's sockets must be short
    port = _free_port()
    host = socket.gethostbyname(socket.gethostname())
    types = {
        name: {
            "node_config": {},
            "min_workers": 0,
            **one,
            "resources": {"object_store_memory": OBJECT_STORE_BYTES, **one["resources"]},
        }
        for name, one in node_types.items()
    }
    config: dict[str, Any] = {
        "cluster_name": "growing",
        "max_workers": sum(one["max_workers"] for one in node_types.values()),
        "provider": {
            "type": "external",  # under its own name Ray looks for defaults that its wheel lacks
            "module": "scarce_nodes.ScarceNodes",
            "stock": str(folder / "stock"),
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "gcs_address": f"{host}:{port}",
            "head_node_id": HEAD,
            "launch_multiple": True,
        },
        "head_node_type": "ray.head.default",
        "available_node_types": {
            **types,
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        },
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": idle_seconds / 60,
        "auth": {},
        "docker": {},
        **{f"{who}setup_commands": [] for who in ("", "head_", "worker_")},
        **{f"{who}start_ray_commands": [] for who in ("head_", "worker_")},
        "initialization_commands": [],
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
    }
    (folder / "stock").write_text("1000")
    (folder / "autoscaling.json").write_text(json.dumps(config))
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=0"]
    command += [f"--port={port}", f"--node-ip-address={host}", f"--temp-dir={folder}", "--disable-usage-stats"]
    command += [f"--autoscaling-config={folder / 'autoscaling.json'}", f"--object-store-memory={OBJECT_STORE_BYTES}"]
    command += ["--dashboard-port=0", "--min-worker-port=0", "--max-worker-port=0"]
    of_ray = {
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": HEAD,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
        "RAY_health_check_period_ms": "2000",
        "RAY_health_check_failure_threshold": "3",
        "RAY_AUTH_MODE": "disabled",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
    }
    with (folder / "head.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, **of_ray, **environment}, start_new_session=True
        )
    try:
        _wait_for(host, port, process, folder / "head.log")
        yield GrowingCluster(process, f"{host}:{port}", folder)
    finally:
        _end(process)
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _wait_for(host: str, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while "Ray runtime started" not in log.read_text(errors="replace"):
        assert process.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < deadline, log.read_text(errors="replace")
        time.sleep(0.2)
    socket.create_connection((host, port), timeout=10).close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the head and all that it started, by their ids."""
    with contextlib.suppress(psutil.Error):
        started = psutil.Process(process.pid).children(recursive=True)
        for one in (*started, psutil.Process(process.pid)):
            with contextlib.suppress(psutil.Error):
                one.kill()
    process.wait(30)
