"""Pictures of ``front.html`` as people see it, with the system's Chromium: ``make screenshots``.

    .venv/bin/python benchmarks/screenshots.py [runs/demo] [--to docs]

The page is written anew from the sweep's journal first, by this version.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from orchestrator.front.front_file import FRONT, read_front
from orchestrator.record.folder import JOURNAL
from orchestrator.record.history import recorded_manifest, recorded_spec
from orchestrator.record.journal import read_state
from orchestrator.report.files import write_report

SIZES = {"front-page": (1280, 960), "front-page-pane": (690, 1150), "front-page-phone": (390, 1250)}
"""Width and height in pixels: a desktop, MLflow's pane of artifacts, a phone."""


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweep", nargs="?", type=Path, default=Path("runs/demo"), help="a finished sweep")
    parser.add_argument("--to", type=Path, default=Path("docs"), help="folder of the pictures")
    chosen = parser.parse_args()
    chromium = os.environ.get("PROCON_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("there is no Chromium on the PATH: install one, or name it in PROCON_CHROMIUM")
    (chosen.sweep / FRONT).unlink(missing_ok=True)  # of another version, it may lack what the page shows
    front, state = read_front(chosen.sweep), read_state(chosen.sweep / JOURNAL)
    name, ran_with = recorded_spec(state, chosen.sweep).name, recorded_manifest(state, chosen.sweep)
    page = write_report(chosen.sweep, name, front, state.records(), ran_with).front_html
    for name, (width, height) in SIZES.items():
        picture = (chosen.to / f"{name}.png").absolute()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=8000"]
        shot = [f"--window-size={width},{height}", f"--screenshot={picture}", page.absolute().as_uri()]
        subprocess.run([chromium, *options, *shot], check=True, capture_output=True)
        print(picture)


if __name__ == "__main__":
    main()
