"""Hosts with a cluster on them, for all tests of this folder, which run in the order they are written in."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cluster_file import on_premise
from hosts import Hosts, missing
from readme import Shell, commands

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """A laptop with the checkout and cluster.yaml filled in, a head, two workers."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with Hosts(tmp_path_factory.mktemp("hosts"), ROOT) as made:
        config = on_premise()
        config["provider"] |= {"head_ip": made.head.address, "worker_ips": [host.address for host in made.others]}
        text = yaml.safe_dump(config, sort_keys=False, width=200)
        (made.laptop.home / "procon-sweeps/cluster.yaml").write_text(text, encoding="utf-8")
        yield made


@pytest.fixture(scope="session")
def shell(hosts: Hosts) -> Shell:
    """Where README's commands are typed."""
    return Shell(hosts.laptop, commands(ROOT / "README.md"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Hosts are made where they are asked for by the marker, and nowhere else."""
    if "cluster" not in config.option.markexpr.replace("not cluster", ""):
        for item in items:
            if item.get_closest_marker("cluster") is not None:
                item.add_marker(pytest.mark.skip(reason="make test-cluster runs it"))
