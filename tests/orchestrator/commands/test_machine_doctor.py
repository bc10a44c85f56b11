import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.commands import doctor as machine_doctor
from orchestrator.record.machine import parse_gpus, this_machine


def checks_of(runs, name):
    return [check for check in machine_doctor.examine(runs) if check.name == name]


def test_every_check_says_something_and_every_fault_has_a_fix(tmp_path):
    checks = machine_doctor.examine(tmp_path)
    assert {check.name for check in checks} == {
        "packages",
        "names",
        "processors",
        "memory",
        "gpus",
        "disk",
        "shared memory",
        "cache",
        "embedded models",
        "mlflow",
        "ray",
    }
    assert all(check.text.endswith(".") for check in checks)
    assert all(check.fix for check in checks if check.status != "ok")


def test_a_wrong_and_a_missing_dependency_are_named(tmp_path, monkeypatch):
    required = ["numpy<1", "a-package-of-nobody>=3", "rich>=14", 'bitsandbytes>=0.45; extra == "qlora"']
    monkeypatch.setattr(machine_doctor.metadata, "requires", lambda _name: required)
    found = [check.text for check in checks_of(tmp_path, "packages")]
    assert len(found) == 2
    assert found[0].startswith("numpy ")
    assert found[0].endswith("is installed, and <1 is needed.")
    assert found[1] == "a-package-of-nobody is missing, and >=3 is needed."


def test_another_distribution_of_our_names_is_found(tmp_path):
    other = tmp_path / "site"
    (other / "training").mkdir(parents=True)
    (other / "training" / "__init__.py").write_text("")
    information = other / "foreign-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n")
    (information / "top_level.txt").write_text("training\n")
    (information / "RECORD").write_text("training/__init__.py,,\n")
    code = (
        "import json, pathlib\n"
        "from orchestrator.commands import doctor\n"
        "print(json.dumps([[c.status, c.text] for c in doctor._name_clashes()]))\n"
    )
    here = str(Path(machine_doctor.__file__).resolve().parents[2])
    for path, expected in (([here, str(other)], ["warn"]), ([str(other), here], ["fail", "warn"])):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONSAFEPATH": "1"}
        run = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
        )
        found = json.loads(run.stdout)
        assert [level for level, _ in found] == expected
        assert any("foreign" in text for _, text in found)


def test_a_cache_folder_that_is_a_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PROCON_CACHE", str(tmp_path / "file"))
    (check,) = checks_of(tmp_path, "cache")
    assert (check.status, check.fix) == ("fail", "set PROCON_CACHE to one that can")


def test_a_half_built_model_is_told(tmp_path, monkeypatch):
    (tmp_path / "organisms" / "organism-1").mkdir(parents=True)
    monkeypatch.setenv("PROCON_CACHE", str(tmp_path))
    (check,) = checks_of(tmp_path, "embedded models")
    assert check.status == "warn"
    assert str(tmp_path / "organisms" / "organism-1") in check.text


def test_an_mlflow_store_that_cannot_be_used_is_a_fault(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "ftp://nowhere")
    (check,) = checks_of(tmp_path, "mlflow")
    assert check.status == "fail"
    assert "ftp://nowhere" in check.text
    assert "unset it" in str(check.fix)


def test_a_ray_address_that_does_not_answer_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    (check,) = checks_of(tmp_path, "ray")
    assert (check.status, "127.0.0.1:1" in check.text) == ("warn", True)


@pytest.mark.parametrize(("fault", "code"), [(False, 0), (True, 1)])
def test_the_command_fails_where_a_check_does(tmp_path, fault, code):
    environment = {**os.environ, **({"MLFLOW_TRACKING_URI": "ftp://nowhere"} if fault else {})}
    command = [sys.executable, "-m", "orchestrator", "doctor", "--json"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60)
    found = json.loads(run.stdout)
    assert run.returncode == code
    assert (found["status"] == "fail") is fault


class TestMachine:
    def test_what_nvidia_smi_prints_becomes_gpus(self):
        first, second = parse_gpus("NVIDIA H200, 143771, 512\nNVIDIA A10G, 23028, 0\nNVIDIA Odd, [N/A], [N/A]\n")
        assert (first.name, first.memory, first.used) == ("NVIDIA H200", 143771 * 2**20, 512 * 2**20)
        assert second.name == "NVIDIA A10G"

    def test_this_machine_is_what_the_kernel_says(self):
        found = this_machine()
        assert 1 <= found.cpus <= (os.cpu_count() or 1)
        assert found.node["CPU"] == found.cpus
        assert 0 < found.memory <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
