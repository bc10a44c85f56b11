"""What a shell completes."""

import os
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
def test_it_is_shown_for_every_shell(shell: str) -> None:
    done = subprocess.run([PROCON, "--show-completion", shell], capture_output=True, text=True)
    assert (done.returncode, "_PROCON_COMPLETE" in done.stdout) == (0, True), done.stderr
