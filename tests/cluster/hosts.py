"""Machines out of namespaces: network, processes, mounts, host name, home and sshd of each are its own.

One switch joins them, itself a namespace, so that the network of this machine is not touched. They share /mnt/procon,
which stands for the storage of a cluster, and nothing else that can be written. No namespace has a name: everything is
gone with the processes that hold it, and these with the process that made them.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TOOLS = ("ip", "sshd", "ssh", "ssh-keygen", "rsync", "unshare", "nsenter", "setpriv", "tmux")
NETWORK = "10.77.0"
HOME = "/mnt/home"
SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": SEARCHED, "HOME": HOME, "USER": "ubuntu", "LANG": "C.UTF-8", "TERM": "xterm", "COLUMNS": "200"}
OFFLINE = "[*sys.argv[1:], '--no-index', '--no-deps', '--no-build-isolation']"
"""Hosts reach no package registry: the image brought what the project needs, setuptools to build it with included."""
SCRIPTS = (
    ("ray", "ray.scripts.scripts", "main", ""),
    ("mlflow", "mlflow.cli", "cli", ""),
    ("pip", "pip._internal.cli.main", "main", OFFLINE),
)
SSHD = """
Port 22
HostKey {home}/.hostkey
PidFile none
PermitRootLogin yes
StrictModes no
UsePAM no
MaxSessions 200
MaxStartups 200
"""


def missing() -> str | None:
    """Why hosts cannot be made here; None where they can."""
    if os.geteuid() != 0:
        return "making hosts needs root"
    absent = [tool for tool in TOOLS if shutil.which(tool, path=SEARCHED) is None]
    if absent:
        return f"making hosts needs {', '.join(absent)}: apt-get install iproute2 openssh-server rsync tmux"
    tried = subprocess.run(["unshare", "-n", "-m", "-p", "-f", "-u", "true"], capture_output=True, check=False)
    return "namespaces cannot be made here" if tried.returncode else None


@dataclass
class Host:
    """A machine.

    Args:
        name: its host name.
        address: in the network of all hosts.
        disk: the folder that is its disk: ``home``, ``tmp`` and ``etc``.
        outer: the process whose end ends it.
        switch: process id of the switch.
    """

    name: str
    address: str
    disk: Path
    outer: subprocess.Popen[bytes]
    switch: int

    @property
    def init(self) -> int:
        """Its process 1, by its id out here."""
        return _child(self.outer.pid)

    @property
    def home(self) -> Path:
        """Its user's home, seen from here."""
        return self.disk / "home"

    def start(self, command: str, log: Path | None = None) -> subprocess.Popen[str]:
        """``command`` in a login shell of the host, in its home; works through a cut network too."""
        output = log.open("w") if log is not None else subprocess.PIPE
        inside = [
            "nsenter",
            "-t",
            str(self.init),
            "-n",
            "-m",
            "-p",
            "-u",
            "--",
            "bash",
            "--login",
            "-c",
            f"cd; {command}",
        ]
        return subprocess.Popen(
            inside, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT
        )

    def run(self, command: str, seconds: float = 120) -> str:
        """What ``command`` prints, which must succeed."""
        process = self.start(command)
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            said = process.communicate()[0]
            raise AssertionError(f"{self.name}: {command}: not done after {seconds} s: {said}") from None
        assert process.returncode == 0, f"{self.name}: {command}: exit {process.returncode}: {output}"
        return output

    def processes(self, word: str = "") -> dict[int, str]:
        """Command lines of what runs on it, by the process ids it knows, but for sshd and whoever asks."""
        found = {}
        for line in self.run("ps -eww -o pid=,ppid=,args=").splitlines():
            pid, parent, words = line.split(None, 2)
            if word in words and pid != "1" and parent != "0" and "sshd: " not in words and "ps -eww" not in words:
                found[int(pid)] = words
        return found

    def kill(self, word: str) -> None:
        """SIGKILL what has ``word`` in its command line."""
        there = self.processes(word)
        assert there, f"{self.name}: no {word} runs"
        self.run(f"kill -9 {' '.join(map(str, there))}")

    def plug(self, *, into: bool = True) -> None:
        """Put its network cable into the switch, or pull it out."""
        _ip(self.switch, f"link set {self.name} {'up' if into else 'down'}")


@dataclass
class Hosts:
    """A laptop, a head and workers, while it is entered.

    Args:
        folder: where their disks and what they share lie.
        project: the checkout that the laptop has.
        workers: how many.
    """

    folder: Path
    project: Path
    workers: int = 2
    laptop: Host = field(init=False)
    head: Host = field(init=False)
    others: list[Host] = field(init=False, default_factory=list)
    _started: list[subprocess.Popen[bytes]] = field(init=False, default_factory=list)

    @property
    def shared(self) -> Path:
        """/mnt/procon of all hosts, seen from here."""
        return self.folder / "shared"

    @property
    def cluster(self) -> list[Host]:
        """Head and workers."""
        return [self.head, *self.others]

    def __enter__(self) -> "Hosts":
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        for process in self._started:
            process.kill()
            process.wait()

    def _make(self) -> None:
        self.shared.mkdir(parents=True)
        environment = _environment(self.folder / "environment")
        for name in ("client", "host"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name], check=True)
        switch = self._namespace(["unshare", "-n", "sleep", "infinity"], self.folder / "switch.log", {})
        _ip(switch.pid, "link add br0 type bridge", f"addr add {NETWORK}.1/24 dev br0", "link set br0 up")
        names = ["laptop", "head", *(f"worker{number + 1}" for number in range(self.workers))]
        made = [
            self._host(name, f"{NETWORK}.{9 + number}", switch.pid, environment) for number, name in enumerate(names)
        ]
        for host in made:
            _wait_for_line(host, "Server listening")
        self.laptop, self.head, *self.others = made
        (self.laptop.home / ".ssh/id_ed25519").write_bytes((self.folder / "client").read_bytes())
        (self.laptop.home / ".ssh/id_ed25519").chmod(0o600)
        _check_out(self.project, self.laptop.home / "procon-sweeps")
        (self.laptop.home / "procon-sweeps/.venv").symlink_to(f"{HOME}/procon-venv")

    def _host(self, name: str, address: str, switch: int, environment: Path) -> Host:
        disk = self.folder / name
        _write_disk(disk, name, self.folder, environment)
        told = {
            "NAME": name,
            "DISK": str(disk),
            "SHARED": str(self.shared),
            "BASE": sys.base_prefix,
            "PACKAGES": str(_packages()),
        }
        apart = ["unshare", "-n", "-m", "-p", "-f", "-u", "--mount-proc", "--kill-child"]
        outer = self._namespace([*apart, "bash", str(Path(__file__).parent / "host.sh")], disk / "sshd.log", told)
        host = Host(name, address, disk, outer, switch)
        _ip(switch, f"link add {name} type veth peer name eth0 netns {host.init}", f"link set {name} master br0 up")
        _ip(
            host.init,
            "link set lo up",
            f"addr add {address}/24 dev eth0",
            "link set eth0 up",
            f"route add default via {NETWORK}.1",  # leads nowhere; Ray asks the route for the machine's address
        )
        return host

    def _namespace(self, command: Sequence[str], log: Path, told: dict[str, str]) -> subprocess.Popen[bytes]:
        """A process of namespaces of its own, which ends with this one."""
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
            env={"PATH": SEARCHED, **told},
            start_new_session=True,
        )
        self._started.append(process)
        _wait(lambda: os.readlink(f"/proc/{process.pid}/ns/net") != os.readlink("/proc/self/ns/net"), str(command))
        return process


def _ip(pid: int, *commands: str) -> None:
    for command in commands:
        subprocess.run(["nsenter", "-t", str(pid), "-n", "ip", *command.split()], check=True)


def _child(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    _wait(lambda: bool(children.read_text().split()), f"child of {pid}")
    return int(children.read_text().split()[0])


def _wait(ready: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
        time.sleep(0.05)


def _wait_for_line(host: Host, words: str) -> None:
    log = host.disk / "sshd.log"
    _wait(lambda: words in log.read_text(), f"sshd of {host.name} ({log})")


def _packages() -> Path:
    """The folder that Ray is installed in."""
    import ray

    return Path(ray.__file__).parents[1]


def _environment(folder: Path) -> Path:
    """The Python of the hosts, with the packages of this one: it stands for what a machine's image brings."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for name in ("bin", f"lib/{version}/site-packages"):
        (folder / name).mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text(f"home = /mnt/python/bin\nversion = {sys.version.split()[0]}\n")
    for name in ("python", "python3", version):
        (folder / "bin" / name).symlink_to(f"/mnt/python/bin/{version}")
    (folder / f"lib/{version}/site-packages/image.pth").write_text("/mnt/site-packages\n")
    (folder / "bin/activate").write_text(f"export PATH={HOME}/procon-venv/bin:$PATH\n")
    for name, module, function, more in SCRIPTS:
        script = folder / "bin" / name
        script.write_text(
            f"#!{HOME}/procon-venv/bin/python\nimport sys\nfrom {module} import {function}\n"
            f"sys.exit({function}({more}))\n"
        )
        script.chmod(0o755)
    return folder


def _write_disk(disk: Path, name: str, keys: Path, environment: Path) -> None:
    """What stands on the disk of a new machine: a user, a key that lets the laptop in, an environment, no network."""
    for folder in ("tmp", "home/.ssh", "etc/ssh"):
        (disk / folder).mkdir(parents=True)
    (disk / "tmp").chmod(0o1777)
    shutil.copytree(environment, disk / "home/procon-venv", symlinks=True)
    users = [
        line for line in Path("/etc/passwd").read_text().splitlines() if line.split(":")[0] not in ("root", "sshd")
    ]
    users = [f"ubuntu:x:0:0::{HOME}:/bin/bash", "sshd:x:105:65534::/run/sshd:/usr/sbin/nologin", *users]
    (disk / "etc/passwd").write_text("\n".join(users) + "\n")
    (disk / "etc/shadow").write_text("ubuntu:*:19000:0:99999:7:::\nsshd:*:19000:0:99999:7:::\n")
    (disk / "etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {name}\n")  # as Debian's installer writes it
    (disk / "etc/resolv.conf").write_text("")  # no name server; one out of reach would cost every look-up 10 s
    (disk / "etc/ssh/sshd_config").write_text(SSHD.format(home=HOME))
    shutil.copy(keys / "host", disk / "home/.hostkey")
    (disk / "home/.hostkey").chmod(0o600)
    shutil.copy(keys / "client.pub", disk / "home/.ssh/authorized_keys")
    (disk / "home/.bashrc").write_text("")
    (disk / "home/.profile").write_text(". ~/.bashrc\n")


def _check_out(project: Path, to: Path) -> None:
    """The files of ``project`` that its cluster.yaml takes along."""
    hidden = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in ("orchestrator", "sweeps", "training"):
        shutil.copytree(project / name, to / name, ignore=hidden)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(project / name, to / name)
