"""``procon`` in this process, for whom it is no matter that what it imports is imported already."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli import app


def procon(*arguments: object, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """What the command prints and the code it exits with, typed in ``folder``; a bug is raised."""
    words, code = ["procon", *map(str, arguments)], 0
    output, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        for name, value in {"COLUMNS": "160", **environment}.items():
            patch.setenv(name, value)
        if folder is not None:
            patch.chdir(folder)
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                app.main()
            except SystemExit as ended:
                code = int(ended.code or 0)
    return subprocess.CompletedProcess(words, code, output.getvalue(), errors.getvalue())
