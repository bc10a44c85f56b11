"""A sweep in a bucket, run by machines that share nothing else: each has a cache folder of its own here."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import procon
from raylets import raylets
from s3_server import BUCKET, KEYS, LocalS3
from small_sweeps import Run, small_sweep

from training.config import ModelConfig
from training.organism.cache import ensure_organism
from training.storage.address import local_folder
from training.storage.bucket import Bucket

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sweeps")]
TRIAL = {**small_sweep()["trial"], "log_every": 2, "checkpoint_every": 4}
TIMES = ("evaluation/seconds",)
SPEC = small_sweep(trial=TRIAL, trials=2, resources={"max_concurrent": 1})


@pytest.fixture
def machine(s3: LocalS3, organism_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Makes a machine's cache, in which the embedded model is there already; its path.

    It is named by ``XDG_CACHE_HOME``: a ``PROCON_CACHE`` of the driver's counts on every node.
    """
    monkeypatch.setenv("PROCON_CACHE", str(organism_cache))
    ensure_organism(ModelConfig(name="small", path="organism/small"))
    monkeypatch.delenv("PROCON_CACHE")

    def make(name: str) -> str:
        cache = tmp_path / "machines" / name / "procon-sweeps"
        cache.mkdir(parents=True)
        for one in organism_cache.iterdir():
            if one.name != "buckets":
                (cache / one.name).symlink_to(one)
        return str(cache.parent)

    return make


def ends(events: list[dict[str, Any]]) -> list[str]:
    return [event["id"] for event in events if event["event"] == "trial_ended"]


def in_last_trial(events: list[dict[str, Any]]) -> bool:
    """The last trial has a checkpoint and has not ended."""
    last = events[-1] if events else {}
    return last.get("event") == "trial_reported" and last["id"] == "small-1" and 6 <= last["step"] < 12


def front_of(text: str) -> dict[str, Any]:
    """What the front says of each trial and reference, but for what takes time."""
    (body,) = json.loads(text)["models"].values()
    everyone = {**body["reference"], **{one["id"]: one for one in body["trials"]}}
    return {
        name: (
            one.get("on_front"),
            {metric: value for metric, value in one["metrics"].items() if metric not in TIMES},
        )
        for name, one in everyone.items()
    }


def test_killed_on_one_machine_and_resumed_on_another_it_comes_to_the_same_front(
    start_sweep: Callable[..., Run],
    machine: Callable[[str], str],
    s3: LocalS3,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = f"s3://{BUCKET}/killed"
    monkeypatch.setenv("XDG_CACHE_HOME", machine("undisturbed"))
    undisturbed = start_sweep(tmp_path / "undisturbed", SPEC)
    code, output = undisturbed.finish()
    assert code == 0, output

    worker, driver = machine("worker"), machine("driver")
    with raylets({"XDG_CACHE_HOME": worker}, one={"CPU": 1}) as (cluster, _nodes):
        monkeypatch.setenv("XDG_CACHE_HOME", driver)
        run = start_sweep(tmp_path / "killed", SPEC, "--out", address, "--address", cluster.address)
        run = replace(run, directory=local_folder(address))
        s3.losing = 3
        run.wait_for(in_last_trial)
        assert not (run.directory / "checkpoints").exists(), "they are on the worker's machine and in the bucket"
        assert Bucket(address).entries("checkpoints/small-1")
        run.process.kill()
        run.process.wait()
    ended = ends(run.events)
    shutil.rmtree(driver)
    shutil.rmtree(worker)

    monkeypatch.setenv("XDG_CACHE_HOME", machine("later"))
    again = start_sweep(tmp_path / "later", None, "resume", address)
    code, output = again.finish()
    assert code == 0, output
    later = replace(again, directory=local_folder(address))
    assert sorted(ends(later.events)) == sorted({*ended, "small-1"}), "nothing that ended is run again"
    assert any("went on from its last checkpoint" in event.get("text", "") for event in later.events)
    assert not list((later.directory / "checkpoints").glob("*/step-*")), "what has ended is in the bucket alone"

    monkeypatch.setenv("XDG_CACHE_HOME", machine("reader"))
    front = procon("front", address, "--json", folder=tmp_path)
    assert front.returncode == 0, front.stderr
    (found,) = json.loads(front.stdout).values()
    assert front_of(json.dumps(found)) == front_of((undisturbed.directory / "front.json").read_text())
    chosen = procon("choose", address, folder=tmp_path)
    assert f"procon export {address}" in chosen.stdout, chosen.stderr
    exported = procon("export", address, "--trial", "small-1", "--to", "weights", folder=tmp_path)
    kept = {entry.key.split("/")[1] for entry in Bucket(address).entries("checkpoints")}
    assert (exported.returncode == 0) == ("small-1" in kept), exported.stderr
    status = procon("status", address, folder=tmp_path)
    assert "5 finished of 5" in status.stdout, status.stderr

    files = [file for file in (tmp_path / "machines").rglob("*") if file.is_file() and not file.is_symlink()]
    contents = [file.read_bytes() for file in files] + [output.encode()]
    contents += [stored.data for entry in Bucket(address).entries() if (stored := Bucket(address).read(entry.key))]
    for value in KEYS.values():
        assert not any(value.encode() in content for content in contents)
