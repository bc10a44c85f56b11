"""The offline bundle: cut, joined, checked and installed, on a small wheel of our own."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from gpu_bundle import ROOT, needed_by, pack, to_collect

LARGEST = 2000


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of one wheel of about 10 kB, in parts of 2 kB."""
    wheels = tmp_path / "bundle" / "wheels"
    wheels.mkdir(parents=True)
    information = "bundled_thing-1.0.dist-info"
    with zipfile.ZipFile(wheels / "bundled_thing-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("bundled_thing.py", "ANSWER = 42\n")
        wheel.writestr("bundled_data.bin", os.urandom(10_000))
        wheel.writestr(f"{information}/METADATA", "Metadata-Version: 2.1\nName: bundled-thing\nVersion: 1.0\n")
        wheel.writestr(
            f"{information}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        names = ("bundled_thing.py", "bundled_data.bin", f"{information}/METADATA", f"{information}/WHEEL")
        wheel.writestr(f"{information}/RECORD", "".join(f"{name},,\n" for name in names))
    pack(tmp_path / "bundle", LARGEST)
    return tmp_path / "bundle"


def install(bundle: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(bundle / "install.py"), "--target", str(target)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_parts_are_small_and_install_to_what_was_cut(bundle: Path, tmp_path: Path) -> None:
    parts = sorted((bundle / "wheels").iterdir())
    assert len(parts) > 4
    assert all(part.stat().st_size <= LARGEST for part in parts)
    done = install(bundle, tmp_path / "site")
    assert done.returncode == 0, done.stderr
    assert "installed 1 of 1 wheels" in done.stdout
    code = "import bundled_thing; print(bundled_thing.ANSWER)"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path / "site")}
    )
    assert told.stdout == "42\n"


@pytest.mark.parametrize("harm", ["change", "remove"])
def test_a_damaged_bundle_installs_nothing(bundle: Path, tmp_path: Path, harm: str) -> None:
    part = sorted((bundle / "wheels").iterdir())[2]
    if harm == "change":
        part.write_bytes(b"x" + part.read_bytes()[1:])
    else:
        part.unlink()
    done = install(bundle, tmp_path / "site")
    assert done.returncode != 0
    assert part.name in done.stderr
    assert not (tmp_path / "site").exists()


def test_what_the_image_has_is_not_collected_and_what_it_lacks_is() -> None:
    collected = to_collect(ROOT)
    assert {"deepspeed", "datasets", "pydantic", "ray", "pytest"} <= collected.keys()
    assert not {"torch", "transformers", "peft", "sympy"} & collected.keys()
    assert "sympy" in needed_by(["torch"])


def test_small_files_stay_whole(bundle: Path) -> None:
    pack(bundle)
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert all(entry["parts"] == [name] for name, entry in manifest.items())
