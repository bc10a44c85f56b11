"""The browser that tests drive: the system's Chromium, where it and Playwright are there."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="pip install 'procon-sweeps[browser]'")
CHROMIUM = os.environ.get("PROCON_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


def browsers() -> Iterator[Any]:
    """What a fixture ``browser`` yields."""
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()
