"""Which network card ranks on several hosts talk through; groups over hosts are in tests/cluster."""

import os

import psutil
import pytest
import ray

from orchestrator.slots.network import ClusterTorchConfig, choose_interface, interface_of


def test_a_card_is_found_by_its_address() -> None:
    for name, addresses in psutil.net_if_addrs().items():
        for owned in addresses:
            assert interface_of(owned.address.partition("%")[0]) is not None, (name, owned)
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("192.0.2.1") is None, "an address of no machine (RFC 5737)"


def test_gloo_and_nccl_use_the_card_that_ray_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", environment)
    choose_interface()
    name = interface_of(ray.util.get_node_ip_address())
    assert environment == {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": f"={name}"}


def test_a_users_own_choice_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"GLOO_SOCKET_IFNAME": "ib0", "NCCL_SOCKET_IFNAME": "ib"}
    environment = dict(chosen)
    monkeypatch.setattr(os, "environ", environment)
    choose_interface()
    assert environment == chosen


def test_the_card_is_chosen_before_the_ranks_look_for_one_another() -> None:
    """By a backend of ours that is Ray's with one thing done first; fails where Ray moves what it is made from."""
    assert ClusterTorchConfig(backend="gloo").backend_cls.__mro__[1].__name__ == "_TorchBackend"
