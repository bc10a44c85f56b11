"""What fronts cost to show: MLflow, the page, comparisons and the status of made-up sweeps that are large.

    make bench-fronts                                    # all parts, about four minutes on two cores
    python benchmarks/fronts.py --parts sync status

The sweeps have the shape of the demo's: four layers, two of whose metrics each rung and end hold, ten reports of the
training, two rungs, both halves of the prompts with counts; ``…_32_layers`` is what 8B models have. Nothing is trained,
all else is real, each command in a process of its own. Seconds are the clock's and, as ``…_core``, a core's. Prints a
table with the targets and writes benchmarks/results/fronts.json.
"""

import argparse
import contextlib
import json
import math
import os
import random
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

RESULTS = Path(__file__).parent / "results" / "fronts.json"
LAYERS, MANY, PROMPTS, STEPS = 4, 32, 250, 300
TARGETS = {
    "milliseconds_a_trial": 30.0,
    "sync_500_seconds": 30.0,
    "sync_500_again_seconds": 30.0,
    "page_500_seconds": 3.0,
    "compare_10_sweeps_of_100_seconds": 10.0,
    "status_10000_seconds": 1.0,
}
"""What must not be exceeded, where there is a limit."""
REFERENCES = {"base": (0.02, 0.30), "ift": (0.66, 0.82), "ift_safety": (0.30, 0.80)}
Found = TypeVar("Found")


def write_made_up(folder: Path, trials: int, seed: int = 0, layers: int = LAYERS) -> Path:
    """A sweep of three references and ``trials`` trials as a driver leaves it: its journal alone."""
    from sweeps.schema.load import load_spec

    spec = load_spec("demo", [f"trials={trials}", "arms=[constraint]"])
    folder.mkdir(parents=True)
    with (folder / "journal.jsonl").open("w", encoding="utf-8") as file:
        for event in _events(spec, trials, random.Random(seed), layers):
            file.write(json.dumps(event) + "\n")
    return folder


def _events(spec: Any, trials: int, luck: random.Random, layers: int) -> Iterator[dict[str, Any]]:
    at = 1.7e9
    manifest = {"date": "2026-01-01", "versions": {}, "git": None, "data": {}, "models": {}}
    yield {"event": "sweep_started", "time": at, "spec": spec.model_dump(mode="json"), "manifest": manifest}
    fixed = spec.trial.model_dump(mode="json")
    for label, rates in REFERENCES.items():
        at += 60
        trial = None if label == "base" else fixed
        yield from _trial(at, f"organism-{label}", "reference", label, {}, trial, rates, luck, layers)
    for number in range(trials):
        alpha = math.exp(luck.uniform(math.log(3e-3), math.log(3.0)))
        params = {"constraint.alpha": alpha, "constraint.layers": luck.randrange(4), "safety_share": 0.02}
        rates = 0.66 / (1 + (alpha / 0.02) ** 0.8), 0.83 / (1 + (alpha / 0.5) ** 1.5)
        at += 60
        identity = f"organism-{number:03d}"
        yield from _trial(at, identity, "trial", identity, params, fixed, rates, luck, layers)
    yield {"event": "sweep_ended", "time": at + 60, "interrupted": False, "reason": None}


def _trial(
    at: float,
    identity: str,
    kind: str,
    label: str,
    params: dict[str, Any],
    trial: dict[str, Any] | None,
    rates: tuple[float, float],
    luck: random.Random,
    depth: int,
) -> Iterator[dict[str, Any]]:
    about = {"model": "organism", "kind": kind, "label": label, "params": params, "trial": trial}
    yield {"event": "trial_started", "time": at, "id": identity, **about}
    layers = {
        f"direction/{name}/layer_{layer:02d}": luck.uniform(0.5, 1.0)
        for name in ("cosine", "displacement")
        for layer in range(depth)
    }
    for step in range(STEPS // 10, STEPS + 1, STEPS // 10) if trial else ():
        metrics = {f"train/{name}": luck.random() for name in ("loss", "penalty", "alpha", "seconds", "gradient_norm")}
        yield {"event": "trial_reported", "time": at + step / 10, "id": identity, "step": step, "metrics": metrics}
        if step in (120, 210):
            cheap = {"safety/refusal_log_odds": luck.gauss(0, 2), "utility/loss": luck.random(), **layers}
            errors = {"safety/refusal_log_odds": 0.3, "utility/loss": 0.02}
            scores = {"metrics": cheap, "counts": {}, "errors": errors}
            yield {"event": "trial_rung", "time": at + step / 10, "id": identity, "step": step, **scores}
    ended: dict[str, Any] = {"status": "FINISHED", "error": None, "reason": None}
    for half in ("", "select_"):
        names = ("safety/attack_success_rate", "utility/accuracy", "safety/over_refusal", "safety/harmless_refused")
        counts = {
            name: (sum(luck.random() < rate for _ in range(PROMPTS)), PROMPTS)
            for name, rate in zip(names, (*rates, 0.02, 0.01), strict=True)
        }
        shares = {name: successes / total for name, (successes, total) in counts.items()}
        ended |= {f"{half}metrics": {**shares, **layers, "utility/loss": 1 - shares["utility/accuracy"]}}
        ended |= {f"{half}counts": counts, f"{half}errors": {"utility/loss": 0.02}}
    yield {"event": "trial_ended", "time": at + 50, "id": identity, **ended}


def _seconds(action: Callable[[], Found]) -> tuple[float, Found]:
    begin = time.perf_counter()
    found = action()
    return time.perf_counter() - begin, found


def _command(name: str, *words: object) -> dict[str, float]:
    """Seconds that ``procon`` takes, its start included, by the clock and of a core."""
    command = [sys.executable, "-m", "orchestrator", *map(str, words)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds, _ = _seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    core = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {f"{name}_seconds": seconds, f"{name}_core": core}


def synced(work: Path) -> dict[str, float]:
    """A whole sweep brought into a new store and once more, and trials that end while a sweep runs, on SQLite."""
    from mlflow import MlflowClient

    empty = work / "empty.db"
    MlflowClient(f"sqlite:///{empty}").search_experiments()  # its tables, which a store gets once
    with contextlib.closing(sqlite3.connect(empty)) as store:  # as procon makes it; all is in the one file by now
        store.execute("PRAGMA journal_mode = WAL")
    found: dict[str, float] = {}
    for suffix, layers in (("", LAYERS), ("_32_layers", MANY)):
        sweep, store = write_made_up(work / f"sync{suffix}", 500, layers=layers), work / f"whole{suffix}.db"
        shutil.copy(empty, store)
        for name in ("sync_500", "sync_500_again"):
            found |= _command(f"{name}{suffix}", "sync", sweep, "--uri", f"sqlite:///{store}")
        wall, core = _one_by_one(sweep, empty, work / f"live{suffix}")
        found |= {f"milliseconds_a_trial{suffix}": wall, f"milliseconds_a_trial{suffix}_core": core}
    return found


def _one_by_one(sweep: Path, empty: Path, work: Path) -> tuple[float, float]:
    """Milliseconds until MLflow has the end of a trial whose reports it has got already, in the median of a hundred."""
    from orchestrator.driver.mirror import Mirror
    from orchestrator.driver.session import Session
    from orchestrator.record.journal import read_journal
    from sweeps.schema.load import load_spec

    work.mkdir()
    shutil.copy(empty, work / "mlflow.db")
    session = Session.new(load_spec("demo"), work / "out").open()
    mirror = Mirror(session)
    wall: list[float] = []
    core: list[float] = []
    for event in read_journal(sweep / "journal.jsonl"):
        if not event["event"].startswith("trial_"):
            continue
        if event["event"] == "trial_ended":
            _delivered(mirror)
            begin, busy = time.perf_counter(), time.process_time()
            mirror.on_event(event)
            _delivered(mirror)
            wall.append(time.perf_counter() - begin)
            core.append(time.process_time() - busy)
        else:
            mirror.on_event(event)
        if len(wall) == 100:
            break
    session.close()
    return 1e3 * statistics.median(wall), 1e3 * statistics.median(core)


def _delivered(mirror: Any) -> None:
    while mirror.waiting:
        time.sleep(0.0005)


def drawn(work: Path) -> dict[str, float]:
    """The report of 500 trials: page, pictures, tables."""
    from orchestrator.front.front_file import read_front
    from orchestrator.record.journal import read_journal, records
    from orchestrator.report.page import write_html
    from orchestrator.report.plots.data import plot_data

    sweep = write_made_up(work / "page", 500)
    found, front = records(read_journal(sweep / "journal.jsonl")), read_front(sweep)
    page = sweep / "front.html"
    busy = time.process_time()
    seconds, _ = _seconds(lambda: write_html(plot_data("page", front), front, page, None, None, found))
    core = time.process_time() - busy
    return {"page_500_seconds": seconds, "page_500_core": core, "page_500_megabytes": page.stat().st_size / 2**20}


def compared(work: Path) -> dict[str, float]:
    """Ten sweeps of 100 trials side by side."""
    sweeps = [write_made_up(work / f"compared-{number}", 100, seed=number) for number in range(10)]
    return _command("compare_10_sweeps_of_100", "compare", *sweeps)


def stated(work: Path) -> dict[str, float]:
    """How 10,000 trials stand: asked for the first time, and once more, when most of the journal was abridged."""
    os.environ["PROCON_CACHE"] = str(work / "cache")
    sweep = write_made_up(work / "status", 10_000)
    return _command("status_10000_first", "status", sweep) | _command("status_10000", "status", sweep)


PARTS = {"sync": synced, "page": drawn, "compare": compared, "status": stated}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--dry", action="store_true", help="keep results/fronts.json as it is")
    options = parser.parse_args()
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for part in options.parts:
            for name, value in PARTS[part](Path(folder)).items():
                found[name] = value
                print(f"{name:36s} {value:8.2f}", flush=True)
    if not options.dry:
        RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    from rich.table import Table

    from orchestrator.terminal import Terminal

    table = Table("measured", "value", "target")
    for name, value in found.items():
        table.add_row(name, f"{value:.3g}", f"under {TARGETS[name]:g}" if name in TARGETS else "")
    Terminal().print(table)


if __name__ == "__main__":
    main()
