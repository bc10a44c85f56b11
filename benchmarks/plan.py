"""How well ``procon plan`` foretells: small sweeps of many kinds are planned from the figures of their like, and run.

    python benchmarks/plan.py                    # about half an hour on two cores; prints the table
    python benchmarks/plan.py --only seeds slots --out /tmp/plans

Each kind is run once to be measured (fewer trials, another seed), then planned from another folder, and then run.
"about" is the plan's estimate over what the run took by its own clock, "at most" its upper bound
over the same. Run it on a quiet machine: what else runs there meanwhile is in the figures.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

SETS = ("general", "safety", "harmful", "harmless", "borderline")
NAMES = ("task", "safety", "harmful", "harmless", "borderline")
LEARN = {"trials": 2, "searcher": {"seed": 1}}
"""How the sweep that is measured differs from the one that is planned."""


def base(model: str = "organism/small") -> dict[str, Any]:
    """A sweep that takes about a minute."""
    return {
        "name": "planned",
        "models": [{"name": "m", "path": model}],
        "data": {name: {"path": f"{model}/{embedded}"} for name, embedded in zip(NAMES, SETS, strict=True)},
        "evaluation": {"harmful": 80, "harmless": 60, "borderline": 60, "task": 80, "max_new_tokens": 24},
        "trial": {"steps": 20, "batch_size": 16, "learning_rate": 3e-3, "max_length": 96, "log_every": 5},
        "search": {"constraint": {"alpha": {"type": "loguniform", "low": 3e-3, "high": 3.0}}},
        "objectives": [
            {"metric": "safety/attack_success_rate", "goal": "minimize"},
            {"metric": "utility/accuracy", "goal": "maximize"},
        ],
        "trials": 6,
        "pruning": None,
    }


def kinds() -> dict[str, dict[str, Any]]:
    """Sweeps by name: what differs from :func:`base`."""
    trial = base()["trial"]
    small = {"name": "m", "path": "organism/small"}
    return {
        "short": {},
        "long trials": {"trial": {**trial, "steps": 100}, "trials": 4},
        "many trials": {"trials": 16},
        "one slot": {"resources": {"max_concurrent": 1}, "trials": 4},
        "two workers": {"resources": {"workers": 2}, "trials": 4},
        "two models": {"models": [small, {**small, "name": "other", "seed": 1}], "trials": 3},
        "unchecked": {"direction": {"causal": None, "filter": False}},
        "long answers": {"evaluation": {**base()["evaluation"], "max_new_tokens": 96}},
        "pruned": {"pruning": {}, "trials": 10, "trial": {**trial, "steps": 60}},
        "seeds": {"seeds": {"replicates_on_front": 2}, "trials": 6},
        "demo": {},
    }


def spec_of(name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The whole specification of a kind."""
    if name == "demo":
        from sweeps.schema.load import load_spec

        return {**load_spec("demo").model_dump(mode="json", exclude_unset=True), "name": "planned"}
    spec = {**base(), **changes}
    if spec["pruning"] == {}:
        del spec["pruning"]  # the default
    return spec


def procon(folder: Path, *arguments: str) -> str:
    """What the command printed."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "COLUMNS": "250"}
    command = [sys.executable, "-m", "orchestrator", *arguments]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if run.returncode not in (0, 1):
        raise RuntimeError(
            f"{' '.join(arguments)} ended with {run.returncode}: {run.stdout[-2000:]}{run.stderr[-2000:]}"
        )
    return run.stdout


def seconds_of(text: str) -> float:
    """``1:02:03`` as seconds."""
    total = 0.0
    for part in text.split(":"):
        total = total * 60 + float(part)
    return total


def measure(name: str, changes: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Plan and actual of one kind."""
    folder.mkdir(parents=True)
    spec = spec_of(name, changes)
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    (folder / "learn.yaml").write_text(yaml.safe_dump({**spec, **LEARN, "name": "learnt"}))
    procon(folder, "run", "learn.yaml", "--out", "learnt/out")
    (folder / "elsewhere").mkdir()  # the plan is made where there are no runs
    plan = json.loads(procon(folder / "elsewhere", "plan", str(folder / "spec.yaml"), "--json"))
    said = procon(folder, "run", "spec.yaml", "--out", "planned/out")
    took = re.search(r"The sweep took ([\d:]+)", said)
    assert took is not None, said
    actual = seconds_of(took[1])
    return {
        "kind": name,
        "slots": plan["concurrency"]["slots"],
        "planned": plan["seconds"],
        "at_most": plan["estimate"]["hours"] * 3600,
        "actual": actual,
        "about_over_actual": plan["seconds"] / actual,
        "at_most_over_actual": plan["estimate"]["hours"] * 3600 / actual,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", help="kinds to run; left out: all")
    parser.add_argument("--out", type=Path, help="folder that is kept; left out: a temporary one")
    arguments = parser.parse_args()
    chosen = {name: changes for name, changes in kinds().items() if not arguments.only or name in arguments.only}
    folder = (arguments.out or Path(tempfile.mkdtemp(prefix="procon-plan-"))).absolute()
    rows = []
    print(f"{'kind':<14}{'slots':>6}{'about':>8}{'at most':>9}{'actual':>8}{'about/actual':>14}{'at most/actual':>16}")
    try:
        for name, changes in chosen.items():
            row = measure(name, changes, folder / name.replace(" ", "-"))
            rows.append(row)
            print(
                f"{name:<14}{row['slots']:>6}{row['planned']:>8.0f}{row['at_most']:>9.0f}{row['actual']:>8.0f}"
                f"{row['about_over_actual']:>14.2f}{row['at_most_over_actual']:>16.2f}",
                flush=True,
            )
    finally:
        if arguments.out is None:
            shutil.rmtree(folder, ignore_errors=True)
    inside = sum(0.9 <= row["at_most_over_actual"] <= 1.4 for row in rows)
    print(f"at most / actual between 0.9 and 1.4: {inside} of {len(rows)}")
    if arguments.out is not None:
        (folder / "plan.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
