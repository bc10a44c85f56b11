"""What a shell completes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROCON = Path(sys.executable).with_name("procon")


@pytest.mark.parametrize(
    ("typed", "offered"), [("procon ru", "run"), ("procon run dem", "demo"), ("procon run m", "my.yaml")]
)
def test_verbs_presets_and_files(typed: str, offered: str, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").touch()
    asked = {"_PROCON_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    done = subprocess.run([PROCON], env={**os.environ, **asked}, cwd=tmp_path, capture_output=True, text=True)
    assert offered in done.stdout.split(), done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_its_script(shell: str) -> None:
    """By the variable, since ``--show-completion`` is of the shell that it is called from."""
    done = subprocess.run(
        [PROCON], env={**os.environ, "_PROCON_COMPLETE": f"source_{shell}"}, capture_output=True, text=True
    )
    assert (done.returncode, f"complete_{shell}" in done.stdout) == (0, True), done.stderr


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_by_the_script() -> None:
    script = (
        f'PATH="{PROCON.parent}:$PATH"; eval "$(_PROCON_COMPLETE=source_bash procon)"; '
        'COMP_WORDS=(procon compa); COMP_CWORD=1; _procon_completion procon; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["compare"], done.stderr
