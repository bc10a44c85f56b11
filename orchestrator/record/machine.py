"""What this machine has: cores, memory, GPUs; without torch or Ray, so that the answer is there at once."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,memory.total,memory.used", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Gpu:
    """One GPU, as its driver names it."""

    name: str
    memory: int
    """Bytes."""
    used: int
    """Bytes in use by anyone."""


@dataclass(frozen=True)
class Machine:
    """Resources that a process here may use."""

    cpus: int
    memory: int
    """Bytes, the container's limit where there is one."""
    gpus: tuple[Gpu, ...]

    @property
    def node(self) -> dict[str, float]:
        """The resources as Ray names them, which a local Ray would find."""
        return {"CPU": float(self.cpus)} | ({"GPU": float(len(self.gpus))} if self.gpus else {})


def this_machine() -> Machine:
    """What this process may use."""
    return Machine(_cpus(), _memory(), find_gpus())


def find_gpus() -> tuple[Gpu, ...]:
    """The NVIDIA GPUs that ``nvidia-smi`` lists; none where it is absent or finds no driver."""
    try:
        run = subprocess.run(NVIDIA_SMI, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return parse_gpus(run.stdout)


def parse_gpus(listing: str) -> tuple[Gpu, ...]:
    """The GPUs in what ``nvidia-smi`` printed: name, MiB in all and MiB in use, a line each."""
    found = []
    for line in listing.splitlines():
        name, _, numbers = line.partition(",")
        total, _, used = numbers.partition(",")
        if total.strip().isdigit() and used.strip().isdigit():
            found.append(Gpu(name.strip(), int(total) * 2**20, int(used) * 2**20))
    return tuple(found)


def gibibytes(count: float) -> str:
    """``1.5 GiB``, or MiB below one."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _cpus() -> int:
    """Cores this process may run on: its affinity and, in a container, its quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read(CGROUP / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def _memory() -> int:
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _read(CGROUP / "memory.max")
    return min(whole, int(limit)) if limit.isdigit() else whole


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
