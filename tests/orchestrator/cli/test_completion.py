"""What a shell completes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli.options import sweep_folders

PROCON = Path(sys.executable).with_name("procon")


@pytest.mark.parametrize(
    ("typed", "offered"), [("procon ru", "run"), ("procon run dem", "demo"), ("procon run m", "my.yaml")]
)
def test_verbs_presets_and_files(typed: str, offered: str, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").touch()
    asked = {"_PROCON_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    done = subprocess.run([PROCON], env={**os.environ, **asked}, cwd=tmp_path, capture_output=True, text=True)
    assert offered in done.stdout.split(), done.stderr


def test_folders_of_sweeps_come_before_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("runs/b", "runs/a", "runs/.hidden", "other"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "runs/b/journal.jsonl").touch()
    (tmp_path / "runs/file").touch()
    asked = {"_PROCON_COMPLETE": "complete_bash", "COMP_WORDS": "procon status runs/", "COMP_CWORD": "2"}
    done = subprocess.run([PROCON], env={**os.environ, **asked}, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["runs/b", "runs/a/"], done.stderr
    monkeypatch.chdir(tmp_path)
    assert sweep_folders("r") == ["runs/"]
    assert sweep_folders(f"{tmp_path}/runs/.") == [f"{tmp_path}/runs/.hidden/"]
    assert sweep_folders("nowhere/x") == []


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
