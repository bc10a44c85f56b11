"""Two machines and a folder that both see, on a file system whose locks are each machine's own.

sshfs serves one folder under two mount points, as two machines would have it: what one locks, the other does not hear
of. A machine is a process with a host name of its own.
"""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from small_sweeps import small_sweep

from orchestrator.driver.session import Session
from orchestrator.record.folder import LOCK
from orchestrator.record.journal import read_journal
from sweeps.schema.spec import SweepSpec

SERVER = Path("/usr/lib/openssh/sftp-server")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="host names and mounts are root's to give"),
    pytest.mark.skipif(
        not shutil.which("sshfs") or not SERVER.exists(), reason="needs Debian's sshfs and openssh-server"
    ),
    pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="needs /dev/fuse"),
]

DRIVER = """
import sys, time
from pathlib import Path
from orchestrator.driver.session import Session
from orchestrator.errors import OutputError
try:
    session = Session.again(Path(sys.argv[1]), say=lambda sentence: print(sentence, flush=True)).open()
except OutputError as error:
    sys.exit(f"refused: {error}")
print("drives", flush=True)
while session.fault is None:
    time.sleep(0.1)
session.journal.append("note", text="said by who lost it")
session.close()
print("lost:", session.fault, flush=True)
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """The same folder as either machine sees it, holding a sweep that nobody drives."""
    served = tmp_path / "served"
    Session.new(SweepSpec.model_validate(small_sweep()), served / "sweep").open().close()
    connect = tmp_path / "connect"
    connect.write_text(f"#!/bin/sh\nexec {SERVER}\n")
    connect.chmod(connect.stat().st_mode | stat.S_IXUSR)
    seen = tmp_path / "one", tmp_path / "two"
    try:
        for mount in seen:
            mount.mkdir()
            subprocess.run(["sshfs", f"here:{served}", mount, "-o", f"ssh_command={connect}"], check=True)
        yield seen
    finally:
        for mount in seen:
            subprocess.run(["umount", "--lazy", mount], check=False)


class Machine:
    """A driver that runs under a host name of its own."""

    def __init__(self, host: str, folder: Path) -> None:
        command = f"hostname {host} && exec {sys.executable} -c '{DRIVER}' {folder}"
        self.process = subprocess.Popen(
            ["unshare", "--uts", "sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def hears(self, words: str, seconds: float = 90.0) -> str:
        """The line with ``words``, once it is printed."""
        assert self.process.stdout is not None
        deadline, lines = time.monotonic() + seconds, []
        for line in self.process.stdout:
            lines.append(line)
            if words in line:
                return line
            assert time.monotonic() < deadline, lines
        raise AssertionError(f"{words!r} never came: {lines}")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


def test_a_second_machine_is_refused_and_takes_over_from_one_that_is_silent(mounts: tuple[Path, Path]) -> None:
    one, two = (mount / "sweep" for mount in mounts)
    first, others = Machine("one", one), []
    try:
        first.hears("drives")
        others.append(Machine("two", two))
        assert "process" in (line := others[-1].hears("refused")), line
        assert "on one drives it" in line, line

        first.signal(signal.SIGSTOP)  # as a machine that hangs
        others.append(Machine("two", two))
        assert "was last driven by process" in others[-1].hears("waiting 15 s")
        others[-1].hears("drives")  # the journal's lock was free for it: no lock reaches so far

        first.signal(signal.SIGCONT)
        assert "on two has taken" in first.hears("lost:")
        assert "said by who lost it" not in (two / "journal.jsonl").read_text()
        assert any("said by who lost it" in file.read_text() for file in one.glob("journal.*.lost"))
        assert [event["event"] for event in read_journal(two / "journal.jsonl")][-1] == "sweep_resumed"
        assert (two / LOCK).exists(), "who lost the folder leaves the other's sign"
    finally:
        for machine in (first, *others):
            machine.signal(signal.SIGCONT)
            machine.end()
