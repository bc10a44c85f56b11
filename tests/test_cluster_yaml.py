"""``cluster.yaml`` against Ray's own schema and checks, offline: what stands there must already be right."""

import copy
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
from cluster_file import FILE, aws, on_premise
from ray.autoscaler._private.util import prepare_config, validate_config

VARIANTS = pytest.mark.parametrize("config", [aws(), on_premise()], ids=["aws", "on premise"])


@VARIANTS
def test_ray_accepts_it(config: dict[str, Any]) -> None:
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    validate_config(prepare_config(copy.deepcopy(config)))


@VARIANTS
def test_a_bogus_key_is_rejected(config: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError, match="bogus"):
        validate_config(prepare_config({**config, "bogus": 1}))


@VARIANTS
def test_every_node_gets_the_project_and_installs_it(config: dict[str, Any]) -> None:
    mounts = config["file_mounts"]
    local = {path for path in mounts.values() if not path.startswith("~")}
    assert {"pyproject.toml", "orchestrator", "sweeps", "training"} <= local
    assert {"README.md", "LICENSE"} <= local, "pyproject.toml names them, so that pip fails without them"
    assert all(remote == f"~/procon-sweeps/{path}" for remote, path in mounts.items() if path in local)
    assert mounts["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("pip install" in command and "-e ~/procon-sweeps" in command for command in config["setup_commands"])
    assert not {".", ".venv", "runs"} & local, "Ray hashes whole mounts"


@VARIANTS
def test_ray_starts_authenticated_bounded_and_quiet(config: dict[str, Any]) -> None:
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        start = start_command(config, name)
        assert "RAY_AUTH_MODE=token" in start
        assert "--object-store-memory=" in start
        assert "--disable-usage-stats" in start
    assert "--dashboard-host=127.0.0.1" in start_command(config, "head_start_ray_commands")


@VARIANTS
def test_a_lost_node_is_noticed_within_half_a_minute(config: dict[str, Any]) -> None:
    """A node that is dead refuses a look at once; one that cannot be reached answers none in time."""
    head, worker = (start_command(config, f"{kind}_start_ray_commands") for kind in ("head", "worker"))
    names = ("period_ms", "timeout_ms", "failure_threshold")
    period, patience, looks = (int(setting(head, f"RAY_health_check_{name}")) for name in names)
    assert looks * period <= 10_000
    assert 15_000 <= looks * (period + patience) <= 30_000, "hiccups of a network end nothing"
    assert {setting(start, "RAY_gcs_rpc_server_reconnect_timeout_s") for start in (head, worker)} == {"30"}


def start_command(config: dict[str, Any], name: str) -> str:
    (command,) = [command for command in config[name] if "ray start" in command]
    return str(command)


def setting(command: str, name: str) -> str:
    found = re.search(rf"\bexport [^;]*\b{name}=(\S+?)[;\s]", command)
    assert found is not None, name
    return found[1]


@VARIANTS
def test_the_commands_are_valid_shell(config: dict[str, Any]) -> None:
    names = [name for name in config if name.endswith("_commands")]
    for command in (command for name in names for command in config[name]):
        checked = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, (command, checked.stderr)


def test_trials_stay_off_the_head_and_gpu_workers_scale_from_zero() -> None:
    config = prepare_config(aws())
    types = config["available_node_types"]
    assert types[config["head_node_type"]]["resources"] == {"CPU": 0}
    assert (types["gpu"]["min_workers"], types["gpu"]["max_workers"], config["max_workers"]) == (0, 8, 8)
    local = on_premise()
    assert "--num-cpus=0" in start_command(local, "head_start_ray_commands")
    assert "RAY_enable_autoscaler_v2=0" in start_command(local, "head_start_ray_commands")


def test_the_mounted_files_exist() -> None:
    missing = [
        path for path in aws()["file_mounts"].values() if not path.startswith("~") and not (FILE.parent / path).exists()
    ]
    assert missing == []


def test_the_sweep_command_is_shown() -> None:
    text = FILE.read_text(encoding="utf-8")
    assert re.search(r"^#.*ray exec cluster.yaml .*procon run .*--address auto", text, re.M)
