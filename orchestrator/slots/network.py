"""Which network card the ranks of a slot talk through: the one by which the nodes of the cluster know each other."""

import os
from typing import Any

import ray
from ray.train.torch import TorchConfig

INTERFACES = {"GLOO_SOCKET_IFNAME": "{}", "NCCL_SOCKET_IFNAME": "={}"}
"""Variables that name it, and how: NCCL takes a plain name for the beginning of one."""


class ClusterTorchConfig(TorchConfig):  # type: ignore[misc]
    """Torch's process group over the network of the cluster.

    Left alone gloo asks what address this machine's name has, which on many is one of the loopback, and NCCL takes
    cards that other nodes need not reach.
    """

    @property
    def backend_cls(self) -> Any:
        """Ray's own, with one thing done first."""
        return _ClusterBackend


class _ClusterBackend(TorchConfig().backend_cls):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Choose the card on every rank, where ranks are on several nodes, before they look for one another."""
        if len({worker.metadata.node_id for worker in worker_group.get_workers()}) > 1:
            worker_group.execute(choose_interface)
        super().on_start(worker_group, backend_config)


def choose_interface() -> None:
    """Have gloo and NCCL of this process use the card with the address that Ray knows; a user's own choice stands."""
    name = interface_of(ray.util.get_node_ip_address())
    if name is not None:
        for variable, form in INTERFACES.items():
            os.environ.setdefault(variable, form.format(name))


def interface_of(address: str) -> str | None:
    """The network card with ``address``; None where none of this machine has it, as behind a translated address."""
    import psutil

    cards = psutil.net_if_addrs().items()
    return next((name for name, owned in cards if any(one.address.partition("%")[0] == address for one in owned)), None)
