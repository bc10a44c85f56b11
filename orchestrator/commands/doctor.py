"""``procon doctor``: whether this machine can run a sweep, check by check, each with what to do about it."""

import importlib.util
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement

from orchestrator.errors import TrackingError
from orchestrator.record.machine import Machine, gibibytes, this_machine
from orchestrator.terminal import Terminal
from orchestrator.tracking.store import check_tracking, default_tracking_uri
from training.organism.cache import cache_root, cached_organisms
from training.secrets import without_secrets

PROJECT = "procon-sweeps"
OURS = ("orchestrator", "sweeps", "training")
"""The project's top-level packages, whose names another distribution may bring too."""
LITTLE_MEMORY, LITTLE_DISK, LITTLE_SHARED = 4 * 2**30, 10 * 2**30, 256 * 2**20
RAY_PORT = 6379
GPU_DRIVERS = ("/proc/driver/nvidia/version", "/dev/nvidia0")

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: Level
    text: str
    """What was found, in a sentence."""
    fix: str | None = None
    """What to do about it; None where all is well."""


def examine(runs: Path = Path("runs")) -> list[Check]:
    """Every check of this machine, in a fixed order; a few of them side by side, since they wait for others.

    Args:
        runs: where sweeps would go.
    """
    machine = this_machine()
    checks: list[Callable[[], list[Check]]] = [
        _packages,
        _name_clashes,
        lambda: [_processors(machine), _memory(machine), _gpus(machine)],
        lambda: [_disk(runs), _shared_memory()],
        lambda: [_cache(), _embedded_models()],
        lambda: [_tracking(runs)],
        lambda: [_ray()],
    ]
    with ThreadPoolExecutor(len(checks)) as pool:
        return [check for found in pool.map(lambda one: one(), checks) for check in found]


def as_json(checks: list[Check]) -> dict[str, Any]:
    """What ``procon doctor --json`` prints."""
    return {"status": worst(checks), "checks": [asdict(check) for check in checks]}


def worst(checks: list[Check]) -> Level:
    """The gravest status among ``checks``."""
    levels: tuple[Level, ...] = ("ok", "warn", "fail")
    return max((check.status for check in checks), key=levels.index)


def _packages() -> list[Check]:
    """Python and every dependency against what the project asks for."""
    found = list(_wrong_versions())
    if not found:
        return [Check("packages", "ok", "Python and every dependency have the versions that procon-sweeps asks for.")]
    return [
        Check("packages", "fail", f"{text}.", "install the project again: pip install -e . (or make test)")
        for text in found
    ]


def _wrong_versions() -> Iterator[str]:
    try:
        required = metadata.requires(PROJECT) or []
    except metadata.PackageNotFoundError:
        yield f"{PROJECT} is not installed, so its dependencies cannot be checked"
        return
    for requirement in map(Requirement, required):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield f"{requirement.name} is missing, and {requirement.specifier} is needed"
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            yield f"{requirement.name} {version} is installed, and {requirement.specifier} is needed"


def _name_clashes() -> list[Check]:
    """Whether another distribution, or the working folder, brings a package of one of our names."""
    own = Path(__file__).resolve().parents[2]
    clashes = []
    for name in OURS:
        spec = importlib.util.find_spec(name)
        places = [Path(place).resolve() for place in (spec.submodule_search_locations or [])] if spec else []
        if own / name not in places:
            where = places[0] if places else "nowhere"
            clashes.append((f"import {name} finds {where} instead of {own / name}", "fail"))
    for name, distributions in metadata.packages_distributions().items():
        others = sorted({one for one in distributions if metadata.metadata(one)["Name"] != PROJECT})
        if name in OURS and others:
            clashes.append((f"the distribution {others[0]} brings a top-level package {name} too", "warn"))
    if not clashes:
        return [Check("names", "ok", f"No other distribution brings a package named {', '.join(OURS)}.")]
    fix = "use an environment for this project alone, or uninstall the other distribution"
    return [Check("names", level, f"{text}.", fix) for text, level in clashes]  # type: ignore[arg-type]


def _processors(machine: Machine) -> Check:
    return Check("processors", "ok", f"{machine.cpus} cores may be used: as many slots of one CPU worker at once.")


def _memory(machine: Machine) -> Check:
    text = f"{gibibytes(machine.memory)} of memory."
    if machine.memory < LITTLE_MEMORY:
        return Check("memory", "warn", text, f"use at least {gibibytes(LITTLE_MEMORY)}, or resources.max_concurrent: 1")
    return Check("memory", "ok", text)


def _gpus(machine: Machine) -> Check:
    if machine.gpus:
        listed = ", ".join(f"{g.name} ({gibibytes(g.memory)}, {gibibytes(g.used)} in use)" for g in machine.gpus)
        busy = [gpu for gpu in machine.gpus if gpu.used > gpu.memory / 10]
        if busy:
            fix = "see nvidia-smi for who uses them, and end it or leave those GPUs out by CUDA_VISIBLE_DEVICES"
            return Check("gpus", "warn", f"GPUs: {listed}; {len(busy)} of them in use already.", fix)
        return Check("gpus", "ok", f"GPUs: {listed}.")
    if any(Path(path).exists() for path in GPU_DRIVERS):
        return Check("gpus", "fail", "A GPU's driver is there, but nvidia-smi lists none.", "see what nvidia-smi says")
    return Check("gpus", "ok", "No GPU: trials train on the CPU, which is enough for the embedded models.")


def _disk(runs: Path) -> Check:
    folder = next(path for path in (runs.absolute(), *runs.absolute().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    text = f"{gibibytes(free)} free where sweeps go ({folder})."
    if not os.access(folder, os.W_OK):
        return Check("disk", "fail", f"{folder} cannot be written.", "choose another folder with --out")
    if free < LITTLE_DISK:
        return Check("disk", "warn", text, "free some, or choose another disk with --out: checkpoints take the most")
    return Check("disk", "ok", text)


def _shared_memory() -> Check:
    shared = Path("/dev/shm")
    if not shared.is_dir():
        return Check("shared memory", "ok", "There is no /dev/shm: Ray keeps its objects elsewhere.")
    free = shutil.disk_usage(shared).free
    text = f"{gibibytes(free)} free in /dev/shm."
    if free < LITTLE_SHARED:
        fix = "give the container more, for example docker run --shm-size=1g: Ray falls back to a slower disk"
        return Check("shared memory", "warn", text, fix)
    return Check("shared memory", "ok", text)


def _cache() -> Check:
    root = cache_root()
    folder = next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return Check("cache", "fail", f"The cache folder {root} cannot be written.", "set PROCON_CACHE to one that can")
    return Check("cache", "ok", f"The cache folder is {root}.")


def _embedded_models() -> Check:
    """Which embedded models need not be built any more."""
    built, broken = cached_organisms()
    if broken:
        fix = f"remove {broken[0]}; it is built again when it is needed"
        return Check("embedded models", "warn", f"{broken[0]} is not a whole model.", fix)
    names = ", ".join(folder.name for folder in built) or "none"
    known = f"Those of seed 0 come with the package; built ones in the cache: {names}."
    return Check("embedded models", "ok", known)


def _tracking(runs: Path) -> Check:
    uri, _ = default_tracking_uri(runs.absolute() / "out")
    try:
        check_tracking(uri)
    except TrackingError as error:
        text, _, fix = str(error).partition(": ")
        return Check("mlflow", "fail", f"{text}.", fix or None)
    return Check("mlflow", "ok", f"MLflow runs go to {without_secrets(uri)}.")


def _ray() -> Check:
    """Whether a Ray cluster can be joined from here; its absence is no fault, since a local Ray is started then."""
    address = os.environ.get("RAY_ADDRESS", "").removeprefix("ray://")
    host, _, port = address.partition(":") if ":" in address else ("127.0.0.1", ":", str(RAY_PORT))
    answers = _connects(host, port)
    if answers:
        return Check("ray", "ok", f"A Ray cluster answers at {host}:{port}; procon run --address auto joins it.")
    if address:
        fix = "correct or unset RAY_ADDRESS, or start the cluster"
        return Check("ray", "warn", f"RAY_ADDRESS ({address}) does not answer.", fix)
    return Check("ray", "ok", "No Ray cluster runs here; procon run starts a local Ray.")


def _connects(host: str, port: str) -> bool:
    try:
        with socket.create_connection((host, int(port)), timeout=1.0):
            return True
    except (OSError, ValueError):
        return False


def print_checks(checks: list[Check], terminal: Terminal) -> None:
    """A line per check, and under it what to do."""
    marks = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}
    for check in checks:
        terminal.say(marks[check.status], f" {check.name:<16} {check.text}")
        if check.fix:
            terminal.say(f"{'':22}{check.fix}")
