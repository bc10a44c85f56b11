"""Ray: start a local one or join a cluster, and how many slots it has room for."""

import math
import os
import signal
import socket
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import ClusterError
from orchestrator.slots.autoscaler import nodes_to_come
from sweeps.schema.resources import ResourcesConfig

OBJECT_STORE_BYTES = 200 * 2**20
"""Weights and data go through files, so a local Ray needs little shared memory (its default is a third of the RAM)."""

STARTS, TOO_SLOW = 3, "timed out during startup"
"""A local Ray gives its processes 30 s to come up, which a busy machine may exceed: how often we try."""

KNOCK_SECONDS = 10.0
"""How long the head of a cluster may take to accept a connection."""

DRIVER_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # the default of 2 s delays every start and end of a worker group
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # our journal is the record
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # an actor that died is started again; what fails for good is in the journal
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl+C is ours: running trials stop, the report is still written
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune's own tables; ours follow the journal
    "RAY_AUTH_MODE": "disabled",  # a local Ray listens on this machine only; a joined cluster brings its own mode
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_maximum_startup_concurrency": "8",  # more workers than cores is our design, not worth a warning
}
WORKER_ENVIRONMENT = {
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",  # of 5: a spot machine may have 30 s notice
    "OMP_NUM_THREADS": "1",  # two threads of one worker fighting two of another ran 20 times slower
    "TOKENIZERS_PARALLELISM": "false",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "PYTHONWARNINGS": "ignore",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    # The seconds that a trial's thread has to end before Tune takes its actor for the next trial: 2 unless said
    # otherwise, and after that the next trial is lost without a word, which a busy machine brought about.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "300",
}
PASSED_ON = ("PROCON_CACHE", "HF_HOME", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
"""What workers are told of the driver's environment, where it says something; it stands in Ray's logs and on its
dashboard, so that keys go another way (:class:`~orchestrator.slots.setup.SlotSetup`)."""
LOCAL_ENVIRONMENT = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # nobody takes this machine away: one process a slot less to start
    "RAY_TRAIN_METRICS_ENABLED": "0",  # nobody scrapes them
}


def connect(address: str | None, namespace: str, gpus: bool) -> None:
    """Join the cluster at ``address`` (``auto``: the one this machine belongs to), or start a local Ray.

    Args:
        address: None starts a local Ray that ends with this process.
        namespace: keeps this sweep's actors apart from those of others.
        gpus: whether workers train on GPUs.

    Raises:
        ClusterError: the cluster cannot be reached, or no local Ray came up.
    """
    accelerator = {} if gpus else {"DS_ACCELERATOR": "cpu"}
    for name, value in (DRIVER_ENVIRONMENT | accelerator).items():
        if not (address and name == "RAY_AUTH_MODE"):
            os.environ.setdefault(name, value)
    if address is not None:
        _knock(address)
    import ray

    environment = WORKER_ENVIRONMENT | accelerator
    environment |= {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    local: dict[str, Any] = {}
    if address is None:
        environment |= {name: os.environ.setdefault(name, value) for name, value in LOCAL_ENVIRONMENT.items()}
        # Without the dashboard, the placement group of a stopped Tune trial leaks and the next trial never starts.
        local = {"include_dashboard": True, "dashboard_host": "127.0.0.1", "object_store_memory": OBJECT_STORE_BYTES}
    for left in reversed(range(STARTS)):
        try:
            with _shielded():
                ray.init(
                    address=address or "local",
                    namespace=namespace,
                    runtime_env={"env_vars": environment},
                    log_to_driver=bool(os.environ.get("PROCON_WORKER_LOGS")),
                    logging_level="ERROR",
                    configure_logging=True,
                    **local,
                )
            return
        except Exception as error:  # Ray raises nothing more special where a local node does not come up
            if address is not None or not left or TOO_SLOW not in str(error):
                raise _refusal(address, error) from error
            ray.shutdown()  # of what came up


@contextmanager
def _shielded() -> Iterator[None]:
    """Keep SIGTERM from the processes that are started meanwhile, which inherit what is blocked here.

    A batch system sends it to all processes of a sweep: Ray would end at once, and with it what could still be told.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ray_addresses() -> list[str]:
    """``host:port`` of the processes without which a connected driver is lost: Ray's head and this machine's node."""
    import ray

    context = ray.get_runtime_context()
    own = [node for node in ray.nodes() if node["NodeID"] == context.get_node_id()]
    return [context.gcs_address, *(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}" for node in own)]


def answers_at(address: str) -> bool:
    """Whether a process takes connections at ``address``, ``host:port``; one that is busy does."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS):
            return True
    except (OSError, ValueError):
        return False


def _knock(address: str) -> None:
    """Refuse an address where nobody answers: Ray itself would go on trying for minutes.

    Raises:
        ClusterError: nothing takes a connection there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():  # auto, or what only Ray understands
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS):
            return
    except (OSError, OverflowError) as error:
        raise _refusal(address, error) from error


def _refusal(address: str | None, error: Exception) -> ClusterError:
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if address is None:
        return ClusterError(f"no local Ray could be started: {text}; see what else this machine does: procon doctor")
    fix = "start one with `ray up cluster.yaml` or `ray start --head`, or leave --address out for a local Ray"
    return ClusterError(f"--address ({address}) cannot be joined: {text}; {fix}")


def slots_that_fit(nodes: Sequence[dict[str, float]], resources: ResourcesConfig) -> int:
    """How many slots of ``resources.workers`` workers the nodes have room for at once.

    Args:
        nodes: resources of every node, as Ray names them (CPU, GPU).
        resources: what a slot needs.
    """
    return sum(_workers_on(node, resources) for node in nodes) // resources.workers


def _workers_on(node: dict[str, float], resources: ResourcesConfig) -> int:
    by_cpu = math.floor(node.get("CPU", 0.0) / resources.cpus_per_worker + 1e-9)
    if not resources.gpus_per_worker:
        return by_cpu
    per_gpu = math.floor(node.get("GPU", 0.0) / resources.gpus_per_worker + 1e-9)
    return min(by_cpu, per_gpu)


def living_nodes(but: Container[str] = ()) -> list[dict[str, float]]:
    """Resources of every living node of the Ray cluster that was joined, as Ray names them, but for some by their ids.

    A node that has announced its end is none.
    """
    import ray
    from ray._private.state import state

    leaving = state.get_draining_nodes()
    there = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in leaving]
    return [dict(node["Resources"]) for node in there if node["NodeID"] not in but]


@dataclass(frozen=True)
class Room:
    """How many slots a sweep runs."""

    slots: int
    """To begin with; those that find no node wait for one."""
    at_once: int
    """So many of them find one now; at least 1."""
    most: int
    """So many there may be once nodes have joined."""


def room_for(resources: ResourcesConfig, jobs: int, *, joined: bool) -> Room:
    """What fits the cluster, now and once nodes have joined; no more than what is asked for, or than there are jobs.

    Args:
        resources: what a slot needs, and how many there shall be.
        jobs: trials of the sweep, at most.
        joined: whether Ray was there before, and more nodes may join it.

    Raises:
        ClusterError: not even one slot fits, and no autoscaler is there to bring more nodes.
    """
    nodes = living_nodes()
    fitting = slots_that_fit(nodes, resources)
    if not fitting and len(resources.sizes) > 1:  # one slot of fewer workers, until there is room for all
        fitting = min(1, slots_that_fit(nodes, resources.model_copy(update={"workers": resources.sizes[0]})))
    wanted = min(resources.max_concurrent or jobs, jobs)
    coming = nodes_to_come(ray_addresses()[0]) if joined else None
    if coming is not None:
        known = slots_that_fit(coming, resources)
        possible = max(fitting, known or (resources.max_concurrent or 0))
    else:
        possible = fitting
    if possible == 0:
        raise _too_small(nodes, coming, resources)
    count = min(possible, wanted)
    return Room(count, max(1, min(fitting, count)), wanted if joined else count)


def _too_small(
    nodes: Sequence[dict[str, float]], coming: Sequence[dict[str, float]] | None, resources: ResourcesConfig
) -> ClusterError:
    have = {name: sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU")}
    needed = f"(workers {resources.workers} x {resources.cpus_per_worker:g} CPU, {resources.gpus_per_worker:g} GPU)"
    if coming:
        most = {name: sum(node.get(name, 0.0) for node in coming) for name in ("CPU", "GPU")}
        return ClusterError(
            f"resources {needed} do not fit the nodes that the autoscaler may bring, {most['CPU']:g} CPU and "
            f"{most['GPU']:g} GPU in all: lower resources.workers or the resources of a worker, or raise max_workers "
            "or the resources of available_node_types"
        )
    return ClusterError(
        f"resources {needed} do not fit the cluster, which has {have['CPU']:g} CPU and {have['GPU']:g} GPU: lower "
        "resources.workers or the resources of a worker, add nodes, or, where an autoscaler adds them on demand, set "
        "resources.max_concurrent"
    )
