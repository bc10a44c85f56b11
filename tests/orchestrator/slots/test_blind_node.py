"""A node that joins a sweep and does not see its folder: a raylet whose own mounts hide it (root, Linux)."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from raylets import SMALL, raylets
from small_sweeps import Run, small_sweep

UNSHARE = ["unshare", "--mount", "--propagation", "private"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode != 0,
        reason="no mounts of one's own can be had here",
    ),
]


@contextlib.contextmanager
def node_without(folder: Path, address: str) -> Iterator[None]:
    """A node of two CPUs that has an empty folder where ``folder`` is."""
    ray = Path(sys.executable).with_name("ray")
    start = f"mount -t tmpfs none {folder} && exec {ray} start --block --address {address} --num-cpus 2"
    start += " --disable-usage-stats --min-worker-port 0 --max-worker-port 0"
    start += f" --object-store-memory {SMALL['object_store_memory']}"
    process = subprocess.Popen(
        [*UNSHARE, "sh", "-c", start],
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(90)


def test_it_is_named_and_gets_no_trial_and_the_sweep_goes_on(start_sweep: Callable[..., Run], tmp_path: Path) -> None:
    trial = {**small_sweep()["trial"], "steps": 250}
    with raylets(one={"CPU": 1}) as (cluster, _nodes):
        run = start_sweep(tmp_path, small_sweep(trials=2, trial=trial), "--address", cluster.address)
        run.wait_for(lambda events: any(event["event"] == "trial_reported" for event in events))
        with node_without(tmp_path / "sweeps", cluster.address):
            events = run.wait_for(
                lambda events: any("cannot be seen from" in event.get("text", "") for event in events)
            )
            began = time.time()
            code, output = run.finish()
        assert code == 0, output
        (told,) = [event["text"] for event in run.events if "cannot be seen from" in event.get("text", "")]
        assert told.startswith(f"--out ({run.directory}) cannot be seen from node ")
        assert told.endswith("it has to be on storage that all nodes mount at this path; no trial is run there")
        assert {event["status"] for event in run.events if event["event"] == "trial_ended"} == {"FINISHED"}
        assert any(event["event"] == "trial_started" and event["time"] > began for event in run.events), "it went on"
        assert not any("FAILED" in str(event.get("status")) for event in events)
