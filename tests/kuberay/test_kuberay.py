"""The manifests for KubeRay: against the published shapes, against each other, and against what the product needs."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from packaging.requirements import Requirement

from sweeps.schema.load import load_spec

ROOT = Path(__file__).parents[2]
GPU = ROOT / "kuberay/gpu"
SCHEMA = json.loads((Path(__file__).parent / "ray_io_v1.schema.json").read_text(encoding="utf-8"))
CLUSTER, JOB, VOLUME = (
    yaml.safe_load((GPU / f"{name}.yaml").read_text(encoding="utf-8")) for name in ("raycluster", "rayjob", "volume")
)


def built(variant: str) -> dict[str, dict[str, Any]]:
    """What ``kubectl apply -k`` would send, by kind."""
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl, which builds the variants")
    made = subprocess.run(
        ["kubectl", "kustomize", str(ROOT / "kuberay" / variant)], capture_output=True, text=True, check=True
    )
    return {one["kind"]: one for one in yaml.safe_load_all(made.stdout)}


def pods(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The pods' specifications of a cluster, by group."""
    workers = {group["groupName"]: group["template"]["spec"] for group in spec["workerGroupSpecs"]}
    return {"head": spec["headGroupSpec"]["template"]["spec"], **workers}


def refuse_unknown(found: dict[str, Any]) -> None:
    Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{found['kind']}"}).validate(found)


@pytest.mark.parametrize("found", [CLUSTER, JOB], ids=["cluster", "job"])
def test_they_have_the_fields_that_kuberay_has(found: dict[str, Any]) -> None:
    refuse_unknown(found)
    misspelt = json.loads(json.dumps(found).replace("enableInTreeAutoscaling", "enableInTreeAutoScaling"))
    with pytest.raises(Exception, match="enableInTreeAutoScaling"):
        refuse_unknown(misspelt)


@pytest.mark.parametrize("variant", ["gpu", "cpu"])
def test_both_variants_are_built(variant: str) -> None:
    found = built(variant)
    refuse_unknown(found["RayCluster"])
    assert found["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod in pods(found["RayCluster"]["spec"]).values():
        assert pod["containers"][0]["image"] == f"procon-sweeps:{variant}"
    limits = pods(found["RayCluster"]["spec"])["workers"]["containers"][0]["resources"]["limits"]
    assert ("nvidia.com/gpu" in limits) == (variant == "gpu")


def test_pods_and_volume_keep_kubernetes_own_schemas() -> None:
    kubernetes = pytest.importorskip("kubernetes_validate", reason="needs pip install kubernetes-validate")
    kubernetes.validate(VOLUME, "1.30", strict=True)
    for name, spec in pods(CLUSTER["spec"]).items():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        kubernetes.validate(pod, "1.30", strict=True)


def test_a_job_makes_the_very_cluster_that_stays() -> None:
    assert JOB["spec"]["rayClusterSpec"] == CLUSTER["spec"]


def test_every_pod_sees_one_volume_at_one_path_and_runs_as_nobody_of_importance() -> None:
    for pod in pods(CLUSTER["spec"]).values():
        (container,) = pod["containers"]
        assert {"name": "shared", "mountPath": "/mnt/procon"} in container["volumeMounts"]
        claims = [volume.get("persistentVolumeClaim") for volume in pod["volumes"]]
        assert {"claimName": VOLUME["metadata"]["name"]} in claims
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"] == {"allowPrivilegeEscalation": False}


def test_versions_are_those_that_the_project_asks_for() -> None:
    import tomllib

    asked = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    (ray,) = (one for one in map(Requirement, asked) if one.name == "ray")
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (in_image,) = re.findall(r"^ARG RAY=(\S+)$", dockerfile, re.MULTILINE)
    assert CLUSTER["spec"]["rayVersion"] == in_image
    assert ray.specifier.contains(in_image)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [word for line in dockerfile.splitlines() if line.startswith("COPY") for word in line.split()[2:-1]]
    assert [word for word in copied if f"!{word.rstrip('/')}" not in ignored or not (ROOT / word).exists()] == []


def test_the_head_has_no_cpus_for_trials_and_the_cluster_a_token() -> None:
    assert CLUSTER["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert CLUSTER["spec"]["authOptions"] == {"mode": "token"}


def test_what_the_job_types_is_what_procon_takes_and_fits_its_workers() -> None:
    from typer.main import get_command

    from orchestrator.cli.app import app

    script = shlex.split(JOB["spec"]["entrypoint"])
    assert script[:2] == ["sh", "-c"]
    assert subprocess.run(["sh", "-n", "-c", script[2]], check=False).returncode == 0
    typed = [shlex.split(one.rstrip(";")) for one in re.findall(r"procon [^;]+", script[2])]
    assert [words[1] for words in typed] == ["resume", "run"]
    commands = get_command(app)
    folders, overrides = set(), []
    for words in typed:
        command = commands.get_command(None, words[1])  # type: ignore[attr-defined, arg-type]
        context = command.make_context(words[1], words[2:], resilient_parsing=False)
        assert context.params["address"] == "auto"
        folders.add(str(context.params["out" if words[1] == "run" else "directory"]))
        overrides += context.params.get("overrides") or []
    assert folders == {"/mnt/procon/runs/first"}
    spec = load_spec("llm-8b-node", [one for one in overrides if not one.startswith("data_root")])
    worker = pods(CLUSTER["spec"])["workers"]["containers"][0]["resources"]["requests"]
    assert spec.resources.cpus_per_worker <= float(worker["cpu"])
    assert spec.resources.gpus_per_worker <= float(worker["nvidia.com/gpu"])
