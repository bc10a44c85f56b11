"""README's cluster section on hosts of their own, one line after another; between the lines hosts fail.

The tests are one story in the order they are written in: each takes the cluster as the one before leaves it.
"""

import time
from typing import Any

import pytest
import yaml
from hosts import Host, Hosts
from journal_watch import Recorded
from readme import Shell

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200), pytest.mark.xdist_group("hosts")]

UP_SECONDS, SWEEP_SECONDS, COMMAND_SECONDS = 600.0, 900.0, 120.0
"""How long a cluster, a sweep and a command that starts nothing may take on a busy machine."""
FEW = {"harmful": 12, "harmless": 6, "borderline": 6, "task": 12, "max_new_tokens": 6}


def sweep(**changes: Any) -> str:
    """A specification over the small embedded model, with another ``trials`` or fields of ``trial``, ``resources``."""
    embedded = {"task": "general", **{name: name for name in ("safety", "harmful", "harmless", "borderline")}}
    sources = {name: {"path": f"organism/small/{own}"} for name, own in embedded.items()}
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
            "trials": changes.get("trials", 1),
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


def working(hosts: Hosts) -> Host:
    """The worker host that the one slot is on."""
    (host,) = [host for host in hosts.others if host.processes("ray::RayTrainWorker")]
    return host


def goes_on(recorded: Recorded, trial: str, lost: Host) -> tuple[int, float]:
    """The first step that ``trial`` reports from another host than ``lost``, and the seconds until it does."""
    begin = time.monotonic()
    seen = len(recorded.events)
    time.sleep(3)  # what was under way

    def reports() -> list[int]:
        return [e["step"] for e in recorded.events[seen:] if e["event"] == "trial_reported" and e["id"] == trial]

    late = len(reports())
    recorded.wait_for(f"{trial} without {lost.name}", lambda: len(reports()) > late, SWEEP_SECONDS)
    return reports()[late], time.monotonic() - begin


def nothing_is_left(hosts: list[Host], seconds: float = 120) -> None:
    """Until nothing but sshd runs on ``hosts``."""
    begin = time.monotonic()
    while left := {host.name: there for host in hosts if (there := host.processes())}:
        assert time.monotonic() - begin < seconds, left
        time.sleep(1)
    print(f"nothing is left on {', '.join(host.name for host in hosts)} after {time.monotonic() - begin:.0f} s")


@pytest.fixture(scope="module")
def second(hosts: Hosts, shell: Shell) -> Recorded:
    """The sweep that faults meet; it has one slot, which fits either worker: one is there to spare."""
    put(hosts, shell, sweep(trial={"steps": 300, "log_every": 5, "checkpoint_every": 10}, trials=100))
    shell.type("ray exec cluster.yaml 'ray job submit", COMMAND_SECONDS, **{"max_concurrent=2": "max_concurrent=1"})
    return Recorded(hosts.shared / "runs/second")


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


def test_a_node_killed_mid_trial(hosts: Hosts, second: Recorded) -> None:
    trial, step = second.wait_until_under_way(SWEEP_SECONDS)
    lost = working(hosts)
    lost.kill("raylet/raylet")
    began, seconds = goes_on(second, trial, lost)
    print(f"a killed node: its trial goes on after {seconds:.0f} s")
    assert began >= step - 10, "from its last checkpoint"
    wait_for_nodes(hosts, 3)  # the launcher starts Ray on it again


def test_a_host_without_network_for_a_minute(hosts: Hosts, second: Recorded) -> None:
    trial, _ = second.wait_until_under_way(SWEEP_SECONDS)
    lost, begin = working(hosts), time.monotonic()
    lost.plug(into=False)
    try:
        _, seconds = goes_on(second, trial, lost)
        print(f"a host without network: its trial goes on after {seconds:.0f} s")
        time.sleep(max(0.0, 60 - (time.monotonic() - begin)))
    finally:
        lost.plug()
    wait_for_nodes(hosts, 3)
    assert set(second.ended().values()) <= {"FINISHED"}


def test_a_killed_head_ends_all_and_a_new_one_goes_on(hosts: Hosts, shell: Shell, second: Recorded) -> None:
    second.wait_until_under_way(SWEEP_SECONDS)
    shell.type("ray exec cluster.yaml 'procon status", COMMAND_SECONDS)
    hosts.head.kill("gcs_server")
    reason = second.wait_for_end(90)
    assert reason is not None
    assert reason.startswith("Ray is gone: nothing answers at 10.77.0.10:6379"), reason
    log = max(hosts.head.disk.glob("tmp/ray/session_*/logs/job-driver-*.log"), key=lambda file: file.stat().st_mtime)
    what = "trials under way go on from their checkpoints with: procon resume /mnt/procon/runs/second --address auto"
    second.wait_for(what, lambda: what in log.read_text(encoding="utf-8"), 60)
    nothing_is_left(hosts.others)
    before = second.finished()
    shell.type("ray up", UP_SECONDS)
    resumed = shell.start("ray exec cluster.yaml 'procon resume")
    second.wait_for("two more trials", lambda: len(second.finished()) >= len(before) + 2, SWEEP_SECONDS)
    hosts.head.run("procon stop /mnt/procon/runs/second")
    output, _ = resumed.communicate(timeout=SWEEP_SECONDS)
    assert resumed.returncode == 0, output
    after = second.finished()
    assert len(after) == len(set(after)), "no trial finishes twice"
    assert after[: len(before)] == before, "what had finished stands"


def test_ray_down_leaves_no_process_on_any_host(hosts: Hosts, shell: Shell) -> None:
    """Workers on premise hear nothing of it: they end once their head has been gone for half a minute."""
    shell.type("ray down", COMMAND_SECONDS)
    nothing_is_left(hosts.cluster)


def test_every_line_of_the_section_was_typed(shell: Shell) -> None:
    assert shell.typed == set(shell.commands)
