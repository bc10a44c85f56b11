"""The browser that tests drive: the system's Chromium, where it and Playwright are there."""

import os
import shutil

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="pip install 'procon-sweeps[browser]'")
CHROMIUM = os.environ.get("PROCON_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
