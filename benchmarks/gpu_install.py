"""Installs the bundle that it lies in, offline: joins the parts, checks them, and adds what is not there yet.

    python install.py [--target FOLDER]

It uses the standard library and pip alone. Packages that are there stay as they are, torch among them, of which the
version is compared before and after.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).parent
UNTOUCHED = ("torch", "transformers", "peft")


def joined(folder: Path, to: Path) -> list[Path]:
    """The whole wheels of the bundle in ``folder``, put together in ``to``.

    Raises:
        SystemExit: a part is absent or damaged.
    """
    wheels = []
    for name, entry in json.loads((folder / "manifest.json").read_text()).items():
        parts = [folder / "wheels" / part for part in entry["parts"]]
        absent = [part.name for part in parts if not part.is_file()]
        if absent:
            raise SystemExit(f"the bundle lacks {absent[0]}: copy it again")
        content = b"".join(part.read_bytes() for part in parts)
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise SystemExit(f"{name} is damaged: copy {', '.join(entry['parts'])} again")
        wheel = to / name
        wheel.write_bytes(content)
        wheels.append(wheel)
    return wheels


def installed(name: str) -> str | None:
    """The version that is there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", help="install into a folder instead of the image's Python")
    options = parser.parse_args()
    before = {name: installed(name) for name in UNTOUCHED}
    with tempfile.TemporaryDirectory() as folder:
        wheels = joined(HERE, Path(folder))
        lacking = [
            wheel for wheel in wheels if options.target or installed(wheel.name.split("-")[0].replace("_", "-")) is None
        ]
        command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--disable-pip-version-check"]
        if options.target:
            command += ["--target", options.target]
        if lacking:
            subprocess.run([*command, *map(str, lacking)], check=True)
    after = {
        name: subprocess.run(
            [sys.executable, "-c", f"from importlib.metadata import version; print(version({name!r}))"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
        or None
        for name in UNTOUCHED
    }
    if after != before:
        raise SystemExit(f"the image's packages have changed from {before} to {after}")
    print(f"installed {len(lacking)} of {len(wheels)} wheels; the others were there")


if __name__ == "__main__":
    main()
