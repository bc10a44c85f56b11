"""README's cluster section on hosts of their own, one line after another; between the lines hosts fail.

The tests are one story in the order they are written in: each takes the cluster as the one before leaves it.
"""

import time
from typing import Any

import pytest
import yaml
from hosts import Hosts
from journal_watch import Recorded
from readme import Shell

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200), pytest.mark.xdist_group("hosts")]

UP_SECONDS, SWEEP_SECONDS, COMMAND_SECONDS = 600.0, 900.0, 120.0
"""How long a cluster, a sweep and a command that starts nothing may take on a busy machine."""
FEW = {"harmful": 12, "harmless": 6, "borderline": 6, "task": 12, "max_new_tokens": 6}


def sweep(**changes: Any) -> str:
    """A specification over the small embedded model, with changed fields of ``trial`` and ``resources``."""
    names = (("task", "general"), ("safety", "safety"), ("harmful", "harmful"), ("harmless", "harmless"))
    sources = {
        name: {"path": f"organism/small/{embedded}"} for name, embedded in (*names, ("borderline", "borderline"))
    }
    trial = {"steps": 6, "batch_size": 16, "learning_rate": 3e-3, "max_length": 96, "log_every": 2}
    return yaml.safe_dump(
        {
            "name": "small",
            "models": [{"name": "small", "path": "organism/small"}],
            "data": sources,
            "evaluation": FEW,
            "trial": {**trial, **changes.get("trial", {})},
            "search": {"constraint": {"alpha": {"type": "loguniform", "low": 0.01, "high": 1.0}}},
            "objectives": [{"metric": "safety/attack_success_rate", "goal": "minimize"}],
            "trials": 1,
            "pruning": None,
            "resources": {"cpus_per_worker": 2, **changes.get("resources", {})},
        }
    )


def put(hosts: Hosts, shell: Shell, text: str) -> None:
    """Write my_sweep.yaml on the laptop and bring it to the head."""
    (hosts.laptop.home / "procon-sweeps/my_sweep.yaml").write_text(text, encoding="utf-8")
    shell.type("ray rsync-up", COMMAND_SECONDS)


def wait_for_nodes(hosts: Hosts, count: int) -> None:
    """Until Ray has ``count`` nodes."""
    deadline = time.monotonic() + UP_SECONDS
    while f" {count} local.cluster.node" not in (seen := hosts.head.run("ray status 2>&1")):
        assert time.monotonic() < deadline, seen
        time.sleep(2)


def test_ray_up_brings_head_and_workers(hosts: Hosts, shell: Shell) -> None:
    shell.type("ray get-auth-token", COMMAND_SECONDS)
    shell.type("ray up", UP_SECONDS)
    wait_for_nodes(hosts, 3)
    for host in hosts.others:
        assert host.processes("raylet/raylet"), f"{host.name} runs no Ray"


def test_an_output_folder_that_a_node_cannot_see_is_refused_by_its_name(hosts: Hosts, shell: Shell) -> None:
    put(hosts, shell, sweep())
    with pytest.raises(AssertionError, match=r"--out \(/mnt/home/procon-sweeps/runs/first\) cannot be seen from node"):
        shell.type("ray exec cluster.yaml 'cd procon-sweeps && procon run", SWEEP_SECONDS, **{"/mnt/procon/": ""})
    assert not (hosts.head.home / "procon-sweeps/runs").exists(), "nothing is left behind"


def test_a_zero_3_sweep_over_two_hosts(hosts: Hosts, shell: Shell) -> None:
    """Each worker has 2 CPUs for Ray, so that the two ranks are on both; their names resolve to the loopback."""
    put(hosts, shell, sweep(trial={"deepspeed": {"zero_stage": 3}}, resources={"workers": 2}))
    output, _ = shell.type("ray exec cluster.yaml 'cd procon-sweeps && procon run", SWEEP_SECONDS)
    assert "The sweep took" in output
    first = Recorded(hosts.shared / "runs/first")
    assert first.ended() == dict.fromkeys(("small-base", "small-ift", "small-ift_safety", "small-0"), "FINISHED")
    shell.type("ray rsync-down", COMMAND_SECONDS)
    copied = hosts.laptop.home / "procon-sweeps/first.html"
    assert copied.read_bytes() == (first.folder / "front.html").read_bytes()


def test_ray_down_leaves_no_process_on_any_host(hosts: Hosts, shell: Shell) -> None:
    """Workers on premise hear nothing of it: they end once their head has been gone for half a minute."""
    shell.type("ray down", COMMAND_SECONDS)
    assert hosts.head.processes() == {}
    deadline = time.monotonic() + 90
    while left := {host.name: there for host in hosts.others if (there := host.processes())}:
        assert time.monotonic() < deadline, left
        time.sleep(1)


def test_every_line_of_the_section_was_typed(shell: Shell) -> None:
    assert shell.typed == set(shell.commands)
