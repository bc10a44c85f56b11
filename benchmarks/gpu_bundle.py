"""An offline bundle for a bare CUDA image: the wheels that it lacks, in parts of bounded size, and an installer.

    python benchmarks/gpu_bundle.py bundle/                    # collects, on a machine with a network
    python bundle/install.py                                   # installs, on the image, without one
    cd procon-sweeps && python benchmarks/gpu.py --out gpu.json

The image is taken to have torch with all that it needs, transformers and PEFT; those are neither collected nor touched,
and of the rest the installer adds what is not there. What is collected are the versions that are installed here, so
collect with the Python and on the kind of machine that the image has. Packages without a wheel (DeepSpeed) are built
here, without their compiled operators.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
THERE = ("torch", "transformers", "peft")
"""What the image has, of torch with all that it needs."""
LARGEST = 50 * 2**20
"""Bytes of a part: what carries the bundle may refuse files from 60 MB on."""
WHEELS, MANIFEST, INSTALLER = "wheels", "manifest.json", "install.py"


def canonical(name: str) -> str:
    """A package's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed_by(requirements: Iterable[str], without: frozenset[str] = frozenset()) -> dict[str, str]:
    """Versions by name of everything that ``requirements`` lead to, as it is installed here.

    Args:
        requirements: as a project writes them.
        without: names that are left out with what they alone lead to.

    Raises:
        SystemExit: one of them is not installed here.
    """
    found: dict[str, str] = {}
    waiting = [(Requirement(text), frozenset[str]()) for text in requirements]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement, extras = waiting.pop()
        environments = [{**default_environment(), "extra": extra} for extra in (extras or {""})]
        if requirement.marker and not any(requirement.marker.evaluate(one) for one in environments):  # type: ignore[arg-type]
            continue
        name, wanted = canonical(requirement.name), frozenset(requirement.extras)
        if name in without or (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            raise SystemExit(f"{name} is not installed here, so that its version is not known: install it") from None
        found[name] = installed.version
        waiting += [(Requirement(text), wanted) for text in installed.requires or ()]
    return found


def to_collect(project: Path, extras: Iterable[str] = ("dev",)) -> dict[str, str]:
    """Versions by name of what the image lacks for ``project`` and its tests."""
    settings = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    wanted = list(settings["dependencies"])
    for extra in extras:
        wanted += settings["optional-dependencies"][extra]
    return needed_by(wanted, without=frozenset({*needed_by(THERE[:1]), *THERE}))


def download(packages: dict[str, str], folder: Path) -> None:
    """Put a wheel of every package into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    pinned = [f"{name}=={version}" for name, version in sorted(packages.items())]
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(folder), *pinned]
    subprocess.run(command, check=True, env={**os.environ, "DS_BUILD_OPS": "0"})


def split(folder: Path, largest: int = LARGEST) -> dict[str, dict[str, object]]:
    """Cut files of ``folder`` that are larger than ``largest`` bytes into parts, which replace them.

    Returns:
        By name of the whole file: ``sha256``, and ``parts``, the names of the files that it lies in.
    """
    manifest: dict[str, dict[str, object]] = {}
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        parts = [file.name]
        if len(content) > largest:
            parts = [f"{file.name}.part{index:02d}" for index in range(-(-len(content) // largest))]
            for index, part in enumerate(parts):
                (folder / part).write_bytes(content[index * largest : (index + 1) * largest])
            file.unlink()
        manifest[file.name] = {"sha256": hashlib.sha256(content).hexdigest(), "parts": parts}
    return manifest


def pack(folder: Path, largest: int = LARGEST) -> None:
    """Make a bundle of ``folder``, whose wheels are in ``folder/wheels``: manifest and installer beside them."""
    manifest = split(folder / WHEELS, largest)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    shutil.copy(Path(__file__).with_name("gpu_install.py"), folder / INSTALLER)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--list", action="store_true", help="print what would be collected and collect nothing")
    options = parser.parse_args()
    packages = to_collect(ROOT)
    if options.list:
        print("\n".join(f"{name}=={version}" for name, version in sorted(packages.items())))
        return
    if options.folder.exists() and any(options.folder.iterdir()):
        raise SystemExit(f"{options.folder} is not empty: name a new folder")
    download(packages, options.folder / WHEELS)
    pack(options.folder)
    total = sum(file.stat().st_size for file in (options.folder / WHEELS).iterdir())
    print(f"{len(packages)} packages, {total / 1e6:.0f} MB in {options.folder}; on the image: python install.py")


if __name__ == "__main__":
    main()
